"""The lines at the bottom of a terminal."""

import io
import re

import pytest
from tallyloop.metrics.terminal.display import Display
from tallyloop.metrics.terminal.scores import Cell

PARTS = ["step 500/2000", "ETA 0:00:08", "200 steps/s", "12,800 ex/s", "wait 3%"]


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def bar(stream, monkeypatch):
    """bar(columns) -> a Display on a terminal of that width."""
    made = []

    def make(columns=120, to=stream):
        monkeypatch.setenv("COLUMNS", str(columns))
        made.append(Display(to))
        return made[-1]

    yield make
    for each in made:
        each.close()


def frames(stream):
    """The lines drawn, in order, without control codes and the spaces at their ends."""
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()))
    return [line.rstrip() for line in drawn if line]


class TestFrame:
    @pytest.mark.parametrize(
        ("columns", "frame"),
        [
            # 61 columns of numbers and their gaps, 2 of the bar's own gap, and one that stays free: 56 for the bar.
            (120, f"step 500/2000  {'━' * 14}{'╌' * 42}  ETA 0:00:08  200 steps/s  12,800 ex/s  wait 3%"),
            (80, f"step 500/2000  {'━' * 4}{'╌' * 12}  ETA 0:00:08  200 steps/s  12,800 ex/s  wait 3%"),
            (74, "step 500/2000  ━━╌╌╌╌╌╌╌╌  ETA 0:00:08  200 steps/s  12,800 ex/s  wait 3%"),
            (73, f"step 500/2000  {'━' * 4}{'╌' * 14}  ETA 0:00:08  200 steps/s  12,800 ex/s"),
            (52, "step 500/2000  ━━╌╌╌╌╌╌╌╌  ETA 0:00:08  200 steps/s"),
            (51, "step 500/2000  ETA 0:00:08  200 steps/s"),
            (39, "step 500/2000  ━━╌╌╌╌╌╌╌╌  ETA 0:00:08"),
            (38, "step 500/2000  ETA 0:00:08"),
            (12, "step 500/2…"),
        ],
    )
    def test_fits(self, bar, stream, columns, frame):
        bar(columns).show(PARTS, 0.25)
        assert frames(stream)[-1] == frame

    @pytest.mark.parametrize(("done", "filled"), [(0.0, 0), (0.5, 15), (1.0, 30), (1.5, 30)])
    def test_fills(self, bar, stream, done, filled):
        """Of 34 columns one stays free, and "a" and its gap take 3."""
        bar(34).show(["a"], done)
        assert frames(stream)[-1] == "a  " + "━" * filled + "╌" * (30 - filled)

    def test_without_an_end(self, bar, stream):
        bar().show(["step 200", "2 steps/s"])
        assert frames(stream)[-1] == "step 200  2 steps/s"

    def test_ascii(self, bar):
        class Ascii(io.StringIO):
            encoding = "ascii"

        stream = Ascii()
        bar(24, stream).show(["a"], 0.5)
        assert frames(stream)[-1] == "a  " + "#" * 10 + "-" * 10


class TestTable:
    TABLE = ([Cell("loss  "), Cell("▲", True), Cell(" 0.5")], [Cell("a" * 30), Cell("▼", False)])

    def test_stands_below_the_bar_and_is_cut_off(self, bar, stream):
        bar(24).show(["step 1"], None, self.TABLE)
        assert frames(stream)[-3:] == ["step 1", "loss  ▲ 0.5", "a" * 23]

    def test_colors(self, bar, stream, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        bar().show(["step 1"], None, self.TABLE)
        assert "\x1b[32m▲\x1b[0m" in stream.getvalue()
        assert "\x1b[31m▼\x1b[0m" in stream.getvalue()

    def test_no_color(self, bar, stream, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        bar().show(["step 1"], None, self.TABLE)
        assert not re.search(r"\x1b\[[0-9;]*m", stream.getvalue())
        assert frames(stream)[-2] == "loss  ▲ 0.5"

    def test_ascii(self, bar):
        class Ascii(io.StringIO):
            encoding = "ascii"

        stream = Ascii()
        bar(24, stream).show(["step 1"], None, self.TABLE)
        assert frames(stream)[-2] == "loss  + 0.5"

    @pytest.mark.parametrize(("rows", "most"), [(24, 10), (50, 23), (5, 3)])
    def test_may_have_half_of_the_rows(self, bar, monkeypatch, rows, most):
        monkeypatch.setenv("LINES", str(rows))
        assert bar(80).size == (79, most)


class TestDisplay:
    def test_draws_only_on_request(self, bar, stream):
        bar()
        assert stream.getvalue() == ""

    def test_lines_stay_above(self, bar, stream):
        shown = bar()
        shown.show(["step 100"])
        shown.print_above("eval  100 | [red]x 1")
        assert frames(stream)[-2:] == ["eval  100 | [red]x 1", "step 100"]

    def test_line_wider_than_the_terminal(self, bar, stream):
        shown = bar(20)
        shown.print_above("x" * 50)
        assert frames(stream) == ["x" * 50]

    def test_close_leaves_the_last_frame(self, bar, stream):
        shown = bar()
        shown.show(["step 100"])
        shown.show(["step 200"])
        shown.close()
        assert frames(stream)[-1] == "step 200"

    def test_a_kill_does_not_leave_the_cursor_hidden(self, bar, stream):
        bar().show(["step 100"])
        assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")

    def test_leaves_a_redirected_stdout_alone(self, bar, capsys):
        bar().show(["step 100"])
        print("a result")
        assert capsys.readouterr().out == "a result\n"
