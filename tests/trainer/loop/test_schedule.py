"""When loops end, and how long they are."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer
from tallyloop.trainer.loop.schedule import LoopLength, Schedule, TrainLength


def events(schedule, most):
    """Runs the schedule in loops of at most so many steps; returns the steps at which loops end, and those of each event."""
    step, ends, found = 0, [], {"summarizes": [], "evaluates": [], "saves": []}
    while step < schedule.train_steps:
        step += schedule.loop_steps(step, most)
        ends.append(step)
        for name, steps in found.items():
            if getattr(schedule, name)(step):
                steps.append(step)
    return ends, found["summarizes"], found["evaluates"], found["saves"]


def lengths(length, step_seconds, host_seconds, loops):
    """The lengths of loops whose steps and whose host take always as long."""
    found = []
    for _ in range(loops):
        found.append(length.steps)
        length.change(*length.wishes(length.steps, length.steps * step_seconds, host_seconds))
    return found


class TestSchedule:
    def test_ends_at_each_event(self):
        ends, summaries, evaluations, saves = events(Schedule(23, 5, 7, 10), 100)
        assert ends == [5, 7, 10, 14, 15, 20, 21, 23]
        assert summaries == [5, 10, 15, 20, 23]
        assert evaluations == [7, 14, 21, 23]
        assert saves == [10, 20, 23]

    def test_no_longer_than_steps_per_loop(self):
        ends, summaries, evaluations, saves = events(Schedule(10, 100, 100, 4), 3)
        assert ends == [3, 4, 7, 8, 10]
        assert (summaries, evaluations, saves) == ([10], [10], [4, 8, 10])

    def test_all_at_one_step(self):
        assert events(Schedule(20, 10, 10, 10), 50) == ([10, 20],) + ([10, 20],) * 3

    def test_intervals_past_the_end(self):
        assert events(Schedule(3, 10, 10, 10), 50) == ([3],) * 4

    @pytest.mark.parametrize(("step", "steps"), [(0, 4), (1, 3), (4, 4), (99, 1), (97, 3)])
    def test_from_the_middle(self, step, steps):
        assert Schedule(100, 4, 1000, 1000).loop_steps(step, 50) == steps

    def test_longest_loop(self):
        assert Schedule(train_steps=25, summary_interval=10, eval_interval=8, checkpoint_interval=100).longest_loop == 8
        assert Schedule(train_steps=5, summary_interval=10, eval_interval=8, checkpoint_interval=100).longest_loop == 5


X = {"x": np.zeros(10)}


class TestTrainLength:
    @pytest.mark.parametrize(
        ("source", "options", "steps"),
        [
            (X, {}, 9),
            (X, {"drop_remainder": True}, 6),
            (X, {"map_fn": lambda example: example}, 9),
            ([{"x": 0.0}] * 8, {}, 6),
        ],
    )
    def test_in_epochs(self, source, options, steps):
        """Batches of 4 of 10 rows: 3 an epoch, the last of 2; of 8 rows 2."""
        assert TrainLength(None, 3).steps(Input(source, 4, **options)) == steps

    def test_in_steps(self):
        assert TrainLength(None, None).steps(None) == 1000
        assert TrainLength(7, None).steps(None) == 7

    @pytest.mark.parametrize(
        ("dataset", "got"), [(None, "none"), (Input(tf.data.Dataset.range(5), 2), "a stream")], ids=["none", "stream"]
    )
    def test_refuses_epochs_of_unknown_length(self, dataset, got):
        with pytest.raises(
            UsageError, match=f"Trainer.train_epochs = 3: .*, got {got}: bind Trainer.train_steps instead"
        ):
            TrainLength(None, 3).steps(dataset)

    def test_is_one_of_both(self, regression_task):
        with pytest.raises(
            UsageError, match=r"Trainer.train_steps = 5 and Trainer.train_epochs = 1: expected one of them"
        ):
            Trainer(task=regression_task(), train_steps=5, train_epochs=1)
        with pytest.raises(UsageError, match=r"Trainer.train_epochs = 0: expected a whole number of at least 1"):
            Trainer(task=regression_task(), train_epochs=0)
        trainer = Trainer(task=regression_task(), train_epochs=2, train_dataset=Input(X, 4))
        assert trainer.train_steps == 6


class TestLoopLength:
    def test_number_stays(self):
        assert lengths(LoopLength(50, 1000), 1e-4, 1e-3, 3) == [50, 50, 50]
        assert LoopLength(50, 20).steps == LoopLength(50, 20).longest == 20

    def test_grows_until_the_host_is_idle(self):
        """The host's share is 0.1 / (0.1 + n): 0.024 with 4 steps of 1 s / 1000, 0.012 with 8."""
        assert lengths(LoopLength("auto", 1000), 1e-3, 1e-4, 5) == [1, 2, 4, 8, 8]

    def test_limits(self):
        assert lengths(LoopLength("auto", 5), 1e-5, 1e-3, 5) == [1, 2, 4, 5, 5]
        assert lengths(LoopLength("auto", 10**6), 1e-5, 1e-1, 12)[-1] == LoopLength("auto", 10**6).longest == 512

    def test_a_second_at_most(self):
        """A run that is asked to stop does so at the end of a loop."""
        assert lengths(LoopLength("auto", 1000), 0.2, 1.0, 4) == [1, 2, 4, 4]
        assert lengths(LoopLength("auto", 1000), 3.0, 9.0, 2) == [1, 1]

    def test_shrinks_with_slow_steps(self):
        length = LoopLength("auto", 1000)
        assert lengths(length, 1e-3, 1e-3, 7)[-1] == 64
        assert lengths(length, 0.05, 1e-3, 4) == [64, 32, 16, 16]

    @pytest.mark.parametrize(("steps", "longer"), [(8, True), (7, False)])
    def test_short_loop_does_not_count(self, steps, longer):
        length = LoopLength("auto", 1000)
        lengths(length, 1e-6, 1.0, 3)
        assert length.wishes(steps, 1e-4, 1e-3) == (longer, False)

    def test_shorter_wins(self):
        length = LoopLength("auto", 1000)
        lengths(length, 1e-6, 1.0, 3)
        length.change(longer=True, shorter=True)
        assert length.steps == 4
