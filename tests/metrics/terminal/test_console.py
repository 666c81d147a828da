import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from tallyloop.metrics.terminal.console import ConsoleWriter
from tallyloop.metrics.writers import Summary


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def plain(stream, clock):
    return ConsoleWriter(stream, 2000, 64, clock, is_terminal=False)


@pytest.fixture
def terminal(stream, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    writer = ConsoleWriter(stream, 2000, 64, clock, is_terminal=True)
    yield writer
    writer.close()


def train(step, **metrics):
    return Summary(step, "train", metrics, {})


def run_to(writer, clock, step, seconds):
    clock.now += seconds
    writer.progress(step)


def lines(stream):
    return stream.getvalue().splitlines()


def frames(stream):
    """The lines drawn on the terminal, in order, without control codes."""
    drawn = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue()))
    return [line for line in drawn if line]


class TestPlainLines:
    def test_of_training(self, plain, stream, clock):
        run_to(plain, clock, 100, 5)  # compilation, before the first speed
        run_to(plain, clock, 500, 2)  # 400 steps in 2 s
        plain.write(train(500, accuracy=0.93412, loss=0.23149))
        assert lines(stream) == [
            "step 500/2000 | loss 0.2315 | accuracy 0.9341 | 200 steps/s | 12,800 examples/s | ETA 0:00:08"
        ]

    def test_of_evaluations(self, plain, stream):
        plain.write(Summary(500, "eval/test", {"loss": 0.31, "accuracy": 0.9}, {}))
        plain.write(Summary(500, "eval", {"loss": 0.31}, {}))
        assert lines(stream) == ["eval/test  500 | loss 0.31 | accuracy 0.9", "eval  500 | loss 0.31"]

    def test_the_first_claims_no_speed(self, plain, stream):
        plain.write(train(100, loss=1.0))
        assert lines(stream) == ["step 100/2000 | loss 1"]

    def test_without_an_end_have_no_eta(self, stream, clock):
        writer = ConsoleWriter(stream, None, 10, clock, is_terminal=False)
        writer.write(train(100, loss=1.0))
        clock.now += 50
        writer.write(train(200, loss=0.5))
        assert lines(stream)[1] == "step 200 | loss 0.5 | 2 steps/s | 20 examples/s"

    def test_have_eight_metrics_at_most_and_no_arrays(self, plain, stream):
        metrics = dict.fromkeys("kjihgfedcb", 1.0) | {"loss": 2.0, "matrix": np.eye(2)}
        plain.write(train(1, **metrics))
        shown = " | ".join(f"{name} 1" for name in "bcdefgh")
        assert lines(stream) == [f"step 1/2000 | loss 2 | {shown} | (+3 more in TensorBoard)"]

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.000123456, "0.0001235"),
            (1.5e-7, "1.5e-07"),
            (812.04, "812"),
            (9999.4, "9999"),
            (9999.6, "10,000"),
            (-51968.4, "-51,968"),
            (3.25e12, "3.25e+12"),
            (float("nan"), "nan"),
            (float("-inf"), "-inf"),
        ],
    )
    def test_numbers(self, plain, stream, value, text):
        plain.write(train(1, x=value))
        assert lines(stream) == [f"step 1/2000 | x {text}"]

    def test_eta_has_hours_and_never_goes_below_zero(self, plain, stream, clock):
        run_to(plain, clock, 0, 0)
        run_to(plain, clock, 1, 5)
        plain.write(train(1, loss=1.0))  # 1999 steps of 5 s: 9995 s
        run_to(plain, clock, 2001, 2000)
        plain.write(train(2001, loss=1.0))
        assert [line.rpartition(" | ")[2] for line in lines(stream)] == ["ETA 2:46:35", "ETA 0:00:00"]

    def test_the_learning_rate_comes_last(self, plain, stream):
        plain.write(train(1, **{"learning_rate/critic": 0.1, "loss/critic": 1.0, **dict.fromkeys("stuvwxyz", 1.0)}))
        shown = " | ".join(f"{name} 1" for name in ("loss/critic", *"stuvwxy"))
        assert lines(stream) == [f"step 1/2000 | {shown} | (+2 more in TensorBoard)"]

    def test_of_what_is_said_and_none_of_progress(self, plain, stream, clock):
        plain.say("Stopped at step 3: enough")
        with plain.doing("compiling"):
            run_to(plain, clock, 100, 1)
        assert lines(stream) == ["Stopped at step 3: enough"]

    def test_share_of_waiting(self, plain, stream, clock):
        run_to(plain, clock, 100, 5)
        run_to(plain, clock, 500, 2)
        plain.write(Summary(500, "train", {"loss": 1.0}, {}, times={"time/data_wait_fraction": 0.256}))
        assert lines(stream)[0].endswith("12,800 examples/s | 26% waiting for data | ETA 0:00:08")

    def test_at_the_end_have_the_best_of_each_evaluated_metric(self, plain, stream):
        for step, accuracy, loss in ((10, 0.5, 3.0), (20, 0.9, 2.0), (30, 0.8, 1.0)):
            plain.write(Summary(step, "eval/test", {"accuracy": accuracy, "loss": loss, "size": 1.0}, {}))
            plain.write(train(step, loss=9.0))
        plain.finish(["Time: 0:00:01"])
        assert lines(stream)[-3:] == [
            "eval/test/loss: last 1, best 1 at step 30",
            "eval/test/accuracy: last 0.8, best 0.9 at step 20",
            "Time: 0:00:01",
        ]

    def test_at_the_end_are_few(self, plain, stream):
        plain.write(Summary(1, "eval", {f"loss/{i:02}": 1.0 for i in range(60)}, {}))
        plain.finish(["Time: 0:00:01"])
        assert len(lines(stream)) == 15
        assert lines(stream)[-2] == "(+48 more in TensorBoard)"


class TestResume:
    def test_says_where_and_knows_the_best_before(self, stream, tmp_path):
        path = tmp_path / "metrics.jsonl"
        metrics = {"accuracy": 0.9, "time/eval_s": 1.0}
        records = [{"step": step, "split": "eval", "metrics": metrics, "counts": {"accuracy": 5.0}} for step in (5, 15)]
        records[1]["metrics"] = {"accuracy": 0.99}
        path.write_text("".join(json.dumps(each) + "\n" for each in records) + '{"torn')
        writer = ConsoleWriter(stream, 20, 10, is_terminal=False, metrics=path)
        writer.resume(10)
        writer.write(Summary(20, "eval", {"accuracy": 0.8}, {}))
        writer.finish(["Time: 0:00:01"])
        assert lines(stream)[0] == "Continues from step 10 of 20."
        assert lines(stream)[-2] == "accuracy: last 0.8, best 0.9 at step 5"

    def test_never_import_rich(self):
        code = (
            "import io, sys; from tallyloop.metrics.terminal.console import ConsoleWriter; "
            "ConsoleWriter(io.StringIO(), 10, 1).progress(1); assert 'rich' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestSpeed:
    def test_examples_are_those_that_the_run_measured(self, plain, stream, clock):
        """Batches of 48 on the average, where 64 are asked for: 10 ms a step, 4800 examples a second."""
        run_to(plain, clock, 100, 5)
        run_to(plain, clock, 500, 2)
        times = {"time/step_ms": 10.0, "throughput/examples_per_sec": 4800.0}
        plain.write(Summary(500, "train", {"loss": 1.0}, {}, times=times))
        run_to(plain, clock, 900, 2)
        plain.write(train(900, loss=1.0))  # which says nothing of it
        assert [line.split(" | ")[3] for line in lines(stream)] == ["9600 examples/s"] * 2

    def test_a_summary_that_comes_after_later_progress(self, plain, stream, clock):
        run_to(plain, clock, 100, 1)
        run_to(plain, clock, 200, 1)
        run_to(plain, clock, 300, 1)
        plain.write(train(200, loss=1.0))  # read after the next loop was dispatched
        run_to(plain, clock, 400, 4)
        assert lines(stream) == ["step 200/2000 | loss 1 | 100 steps/s | 6400 examples/s | ETA 0:00:17"]
        assert plain.recent_speed == 25.0

    def test_is_that_since_the_last_train_summary(self, plain, clock):
        assert plain.recent_speed is None
        run_to(plain, clock, 100, 10)
        run_to(plain, clock, 200, 10)
        plain.write(train(200, loss=1.0))
        assert plain.recent_speed == 10.0
        run_to(plain, clock, 300, 1)
        assert plain.recent_speed == 100.0

    def test_pauses_do_not_count(self, plain, clock):
        run_to(plain, clock, 100, 0)

        def failing_evaluation():
            with plain.paused():
                clock.now += 30
                raise KeyError

        with pytest.raises(KeyError):
            failing_evaluation()
        run_to(plain, clock, 200, 4)
        assert plain.recent_speed == 25.0


class TestWithoutAStream:
    """As on the workers that are not the chief."""

    def test_measures_the_speed_and_shows_nothing(self, clock, capsys):
        writer = ConsoleWriter(None, 2000, 64, clock)
        writer.say("Continues from step 3.")
        run_to(writer, clock, 100, 1)
        run_to(writer, clock, 200, 1)
        writer.write(train(200, loss=1.0))
        writer.write(Summary(200, "eval", {"loss": 1.0}, {}))
        writer.close()
        assert writer.recent_speed == 100.0
        assert capsys.readouterr() == ("", "")


class TestTerminal:
    @pytest.mark.parametrize(("term", "fancy"), [("xterm-256color", True), ("dumb", False)])
    def test_the_stream_and_term_decide(self, stream, clock, monkeypatch, term, fancy):
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setenv("TERM", term)
        writer = ConsoleWriter(stream, 2000, 64, clock)
        writer.progress(100)
        writer.close()
        assert ("step 100/2000" in stream.getvalue()) == fancy

    def test_bar_has_all_the_numbers(self, terminal, stream, clock):
        run_to(terminal, clock, 100, 5)
        run_to(terminal, clock, 500, 2)
        terminal.write(Summary(500, "train", {"loss": 0.23149}, {}, times={"time/data_wait_fraction": 0.03}))
        # 119 columns less 61 of numbers and their gaps, less the bar's own gap of 2: 56, a quarter of it filled.
        bar, *table = frames(stream)[-3:]
        assert bar == f"step 500/2000  {'━' * 14}{'╌' * 42}  ETA 0:00:08  200 steps/s  12,800 ex/s  wait 3%"
        assert table == ["metric   train     best", "loss    0.2315   0.2315"]

    def test_progress_moves_the_bar_between_summaries(self, terminal, stream, clock):
        run_to(terminal, clock, 100, 1)
        terminal.write(train(100, loss=0.5))
        run_to(terminal, clock, 300, 1)
        assert frames(stream)[-3].startswith("step 300/2000  ━")
        assert frames(stream)[-3].endswith("╌  ETA 0:00:09  200 steps/s  12,800 ex/s")

    def test_says_what_it_does_besides(self, terminal, stream, clock):
        run_to(terminal, clock, 100, 1)
        with terminal.doing("evaluating"):
            clock.now += 50
            assert frames(stream)[-1].endswith("╌  evaluating ...")
        run_to(terminal, clock, 200, 1)
        assert frames(stream)[-1].endswith("╌  ETA 0:00:18  100 steps/s  6400 ex/s")

    def test_ends_with_the_table_and_what_it_is_given(self, terminal, stream, clock):
        run_to(terminal, clock, 100, 1)
        terminal.write(Summary(100, "eval", {"loss": 0.5}, {}))
        terminal.finish(["Time: 0:00:01"])
        terminal.close()
        assert [line.rstrip() for line in frames(stream)[-3:]] == [
            "metric  eval   best",
            "loss     0.5    0.5",
            "Time: 0:00:01",
        ]

    def test_is_redrawn_a_few_times_per_second_and_at_the_end(self, terminal, stream, clock):
        for step in range(1, 1001):  # 1000 steps in 1 s: a frame every 0.2 s
            run_to(terminal, clock, step, 0.001)
        assert 4 <= len(frames(stream)) <= 6
        terminal.close()
        assert frames(stream)[-1].startswith("step 1000/2000")

    def test_an_evaluation_leaves_a_line_above_the_bar(self, terminal, stream, clock):
        run_to(terminal, clock, 100, 1)
        terminal.write(Summary(100, "eval/test", {"loss": 0.31, "[red]x": 1.0}, {}))
        assert "eval/test  100 | loss 0.31 | [red]x 1" in frames(stream)
        assert frames(stream)[-1].startswith("step 100/2000")

    def test_an_evaluation_takes_one_line(self, stream, monkeypatch):
        """Of 31 columns one stays free: 30 are those of three metrics; where there is one more, two and the dots have 27."""
        monkeypatch.setenv("COLUMNS", "31")
        for metrics in ({"a": 1.0, "b": 1.0, "c": 1.25}, {"a": 1.0, "b": 1.0, "c": 1.25, "d": 1.0}):
            writer = ConsoleWriter(stream, 2000, 64, is_terminal=True)
            writer.write(Summary(100, "eval", metrics, {}))
        assert frames(stream) == ["eval  100 | a 1 | b 1 | c 1.25", "eval  100 | a 1 | b 1 | ..."]

    def test_without_an_end_has_no_bar(self, stream, clock, monkeypatch):
        monkeypatch.setenv("COLUMNS", "100")
        writer = ConsoleWriter(stream, None, 10, clock, is_terminal=True)
        run_to(writer, clock, 100, 1)
        run_to(writer, clock, 200, 50)
        writer.close()
        assert frames(stream)[-1].rstrip() == "step 200  2 steps/s  20 ex/s"
