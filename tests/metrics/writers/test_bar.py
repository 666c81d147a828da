"""The line at the bottom of a terminal."""

import io
import re

import pytest
from tallyloop.metrics.writers.bar import Bar

PARTS = ["step 500/2000", "loss 0.2315", "200 steps/s", "12,800 examples/s", "ETA 0:00:08"]


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def bar(stream, monkeypatch):
    """bar(columns) -> a Bar on a terminal of that width."""
    made = []

    def make(columns=120, to=stream):
        monkeypatch.setenv("COLUMNS", str(columns))
        made.append(Bar(to))
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
            # 71 columns of numbers and their gaps, 2 of the bar's own gap, and one that stays free: 46 for the bar.
            (120, f"step 500/2000  {'━' * 12}{'╌' * 34}  loss 0.2315  200 steps/s  12,800 examples/s  ETA 0:00:08"),
            (84, "step 500/2000  ━━╌╌╌╌╌╌╌╌  loss 0.2315  200 steps/s  12,800 examples/s  ETA 0:00:08"),
            (83, "step 500/2000  loss 0.2315  200 steps/s  12,800 examples/s  ETA 0:00:08"),
            (72, "step 500/2000  loss 0.2315  200 steps/s  12,800 examples/s  ETA 0:00:08"),
            (71, "step 500/2000  ━━╌╌╌╌╌╌╌╌  loss 0.2315  200 steps/s  12,800 examples/s"),
            (40, "step 500/2000  loss 0.2315  200 steps/s"),
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


class TestBar:
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
