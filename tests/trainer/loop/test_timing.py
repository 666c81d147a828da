"""Where the time of a run goes."""

import json
import logging
import time

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import PreemptedError
from tallyloop.trainer.loop.timing import TIMES, Timing
from tallyloop.trainer.step.batches import Fetched


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def loop(self, timing, seconds, host=0.0):
        """A loop in which the host is busy for some time, too."""
        with timing.loop():
            self.now += seconds
            with timing.host():
                self.now += host


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timing(clock):
    return Timing(clock)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class TestByKind:
    def test_of_the_whole_run(self, timing, clock):
        """10 s in loops, of which 3 waited for data; and pauses, those without a kind left out."""
        timing.add("time/compile_s", 4.0)
        for seconds in (4.0, 6.0):
            clock.loop(timing, seconds)
            with timing.pause("time/checkpoint_blocked_s"):
                clock.now += 1
            with timing.pause(kind="evaluating"):
                clock.now += 2.5
            timing.lap(Fetched(10, 100, 1.5), 10)
        with timing.pause():
            clock.now += 50
        kinds = {"training": 7.0, "evaluating": 5.0, "compiling": 4.0, "waiting for data": 3.0, "saving": 2.0}
        assert timing.by_kind == kinds
        assert list(timing.by_kind) == list(kinds)


class TestTiming:
    """With a clock of our own."""

    def test_lap_is_split(self, clock, timing):
        """4 s: 3 s in loops, 1 s of the host; the pauses are not of it."""
        clock.loop(timing, 2.0)
        clock.now += 0.25
        with timing.pause():
            clock.now += 50
        clock.loop(timing, 1.0, host=0.75)
        with timing.pause("time/checkpoint_blocked_s"):
            clock.now += 7
        seconds, times = timing.lap(Fetched(steps=20, examples=320, waited=0.4), steps_summed=20)
        assert seconds == 4.0
        assert times == {
            "time/step_ms": 200.0,
            "time/host_fraction": 0.25,
            "time/data_wait_fraction": 0.1,
            "throughput/examples_per_sec": 80.0,
            "time/checkpoint_blocked_s": 7.0,
        }

    def test_next_lap_starts_anew(self, clock, timing):
        timing.add("time/compile_s", 3.0)
        with timing.pause("time/compile_s"):
            clock.now += 2
        clock.loop(timing, 1.0)
        assert timing.lap(Fetched(1, 1, 0.0), 1)[1]["time/compile_s"] == 5.0
        clock.loop(timing, 0.5)
        assert timing.lap(Fetched(1, 2, 0.0), 1) == (
            0.5,
            {
                "time/step_ms": 500.0,
                "time/host_fraction": 0.0,
                "time/data_wait_fraction": 0.0,
                "throughput/examples_per_sec": 4.0,
            },
        )

    def test_lap_of_pauses(self, clock, timing):
        with timing.pause("time/compile_s"):
            clock.now += 2
        clock.now += 0.5
        assert timing.lap(Fetched(0, 0, 0.0), 1) == (2.5, {"time/compile_s": 2.0})

    def test_lap_of_more_sums(self, clock, timing):
        clock.loop(timing, 2.0)
        seconds, times = timing.lap(Fetched(10, 10, 0.0), steps_summed=25)
        assert (seconds, times["time/step_ms"]) == (5.0, 200.0)

    def test_host_between_loops(self, clock, timing):
        clock.loop(timing, 1.0)
        clock.now += 0.25
        with timing.pause():
            clock.now += 9
        clock.loop(timing, 2.0, host=0.5)
        assert (timing.loop_seconds, timing.host_seconds) == (2.0, 0.75)

    def test_reports_waiting_once(self, clock, timing, caplog):
        with caplog.at_level(logging.WARNING):
            for waited in (0.1, 0.19, 0.9, 0.9, 0.9):
                clock.loop(timing, 1.0)
                timing.lap(Fetched(10, 10, waited), 10)
        (record,) = caplog.records
        assert "40% of the training time so far was spent waiting for data" in record.getMessage()  # 1.19 of 3 s

    def test_does_not_judge_the_first_moments(self, clock, timing, caplog):
        with caplog.at_level(logging.WARNING):
            for _ in range(4):
                clock.loop(timing, 0.1)
                timing.lap(Fetched(10, 10, 0.09), 10)
            assert not caplog.records
            clock.loop(timing, 0.2)
            timing.lap(Fetched(10, 10, 0.18), 10)
        assert [record.getMessage()[:3] for record in caplog.records] == ["90%"]


class TestTimes:
    """The times that a run writes."""

    def test_names_and_steps(self, make_trainer, tmp_path):
        seen = []
        trainer = make_trainer(
            data=40,
            evaluate=True,
            train_steps=9,
            summary_interval=3,
            checkpoint_interval=3,
            model_dir=tmp_path,
            actions=[lambda _, summary: seen.append(summary)],
        )
        results = trainer.train_and_eval()
        *train, evaluation = lines(tmp_path)
        assert TIMES - {"time/eval_s"} == set().union(*(line["metrics"] for line in train)) - {"loss", "learning_rate"}
        assert all(line["counts"].keys() == {"loss", "learning_rate"} for line in train)  # they are no tallies
        assert all(0 <= line["metrics"]["time/host_fraction"] <= 1 for line in train)
        assert all(line["metrics"]["time/data_wait_fraction"] == 0 for line in train)
        assert ["time/compile_s" in line["metrics"] for line in train] == [True, False, False]
        assert ["time/checkpoint_blocked_s" in line["metrics"] for line in train] == [False, True, True]
        assert evaluation["metrics"].keys() == {"loss", "time/eval_s"}
        assert results["test"].keys() == trainer.evaluate()["test"].keys() == {"loss"}
        assert all(summary.metrics.keys() - {"learning_rate"} == {"loss"} for summary in seen)

    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize("streams", [False, True])
    @pytest.mark.parametrize(
        ("drop_remainder", "examples"),
        [(False, 16 + 9 + 16 + 16 + 9 + 16), pytest.param(True, 6 * 16, marks=pytest.mark.slow)],
    )
    def test_throughput(self, make_trainer, rows, tmp_path, replicas, streams, drop_remainder, examples):
        """7 steps of 41 rows are batches of 16, 16, 9, 16, 16, 9, 16; the first step is for compiling."""
        source = (lambda: tf.data.Dataset.from_tensor_slices(rows(41))) if streams else rows(41)
        trainer = make_trainer(
            train_dataset=Input(source, 16, drop_remainder=drop_remainder, shuffle=False),
            replicas=replicas,
            train_steps=7,
            summary_interval=7,
            model_dir=tmp_path,
        )
        trainer.train()
        found = lines(tmp_path)[0]["metrics"]
        seconds = 6 * found["time/step_ms"] / 1000
        assert found["throughput/examples_per_sec"] * seconds == pytest.approx(examples)

    def test_slow_stream(self, make_trainer, rows, tmp_path, caplog):
        def slow():
            pause = lambda y: time.sleep(0.01) or y  # noqa: E731
            data = tf.data.Dataset.from_tensor_slices(rows(24))
            slowed = data.map(lambda e: {**e, "y": tf.ensure_shape(tf.numpy_function(pause, [e["y"]], tf.float32), [])})
            options = tf.data.Options()
            options.autotune.enabled = False
            return slowed.with_options(options)

        trainer = make_trainer(
            train_dataset=Input(slow, 8, shuffle=False),
            train_steps=13,
            summary_interval=13,
            steps_per_loop=4,
            model_dir=tmp_path,
        )
        with caplog.at_level(logging.WARNING):
            trainer.train()
        found = lines(tmp_path)[0]["metrics"]
        assert 0.5 < found["time/data_wait_fraction"] <= 1
        assert found["time/step_ms"] > 40  # 8 examples, of which some may be ready
        assert sum("waiting for data" in record.getMessage() for record in caplog.records) == 1

    @pytest.mark.parametrize("name", ["time/step_ms", "throughput/examples_per_sec"])
    def test_their_names_are_taken(self, regression_task, make_trainer, name):
        class Own(regression_task):
            def loss(self, model, batch, training):
                metrics.add(name, batch["y"])
                return super().loss(model, batch, training)

        with pytest.raises(UsageError, match=name):
            make_trainer(Own()).train()
        with pytest.raises(UsageError, match=name):
            make_trainer(Own(), evaluate=True).evaluate()


class TestRates:
    """Every step adds 1, so the rate is that of steps: 1000 / time/step_ms, whatever of the sums' steps were timed."""

    @pytest.fixture
    def train(self, regression_task, make_trainer, tmp_path):
        class Counting(regression_task):
            def loss(self, model, batch, training):
                metrics.add("steps", tf.constant(1.0), finish="per_second")
                return super().loss(model, batch, training)

        def train(task=Counting, **arguments):
            defaults = {"train_steps": 20, "summary_interval": 10, "steps_per_loop": 1, "model_dir": tmp_path}
            trainer = make_trainer(task(), **{**defaults, **arguments})
            trainer.train()
            return trainer

        return train

    def check(self, folder, steps):
        found = lines(folder)
        assert [line["step"] for line in found] == steps
        for line in found:
            assert line["metrics"]["steps"] == pytest.approx(1000 / line["metrics"]["time/step_ms"])

    def test_compiled_step_and_rerun(self, train, tmp_path, monkeypatch):
        asked = []
        with monkeypatch.context() as patch:
            patch.setattr(preemption, "requested", lambda: asked.append(1) or len(asked) == 14)
            with pytest.raises(PreemptedError, match="step 14"):
                train()
        train()
        self.check(tmp_path, [10, 20])

    def test_extended_run(self, train, tmp_path):
        train(train_steps=17)
        train()
        self.check(tmp_path, [10, 17, 20])

    def test_after_a_rollback(self, train, rows, tmp_path):
        """The metrics of steps 11 to 14 are dropped with the batch of step 14."""
        data = rows(20 * 4)
        data["y"][13 * 4] = np.nan
        train(on_nonfinite="rollback", checkpoint_interval=5, train_dataset=Input(data, 4, shuffle=False))
        self.check(tmp_path, [10, 20])

    def test_only_a_compiled_step(self, train, tmp_path):
        train(train_steps=1, summary_interval=1)
        (line,) = lines(tmp_path)
        assert "time/step_ms" not in line["metrics"]
        assert line["metrics"]["steps"] == pytest.approx(1 / line["metrics"]["time/compile_s"], rel=0.1)
