"""The batch size that is suggested for given speeds, and that looking for it leaves no trace."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer.actions import BatchSizeFinder


@pytest.fixture(scope="module")
def trainer(make_trainer):
    """A prepared Trainer on batches of 16, whose requests to stop go to `reasons`."""
    made = make_trainer(replicas=2, data=96)
    made.prepare()
    made.reasons = []
    made.stop = made.reasons.append
    return made


@pytest.fixture
def search(trainer, monkeypatch):
    """search(speeds, ...) -> the finder, after a search among sizes that have these speeds, and where others do not fit."""

    def run(speeds, **arguments):
        def speed(self, session):
            if session.global_batch_size not in speeds:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM")
            return speeds[session.global_batch_size]

        monkeypatch.setattr(BatchSizeFinder, "_speed", speed)
        finder = BatchSizeFinder(**arguments)
        finder.start(trainer)
        return finder

    return run


class TestSearch:
    @pytest.mark.parametrize(
        ("speeds", "most", "tried", "best"),
        [
            ({16: 100, 32: 190, 64: 195, 128: 400}, 4096, [16, 32, 64], 32),  # 64 is 3% faster: no more
            ({16: 100, 32: 190, 64: 370}, 4096, [16, 32, 64], 64),  # 128 does not fit
            ({16: 100, 32: 190, 64: 370}, 40, [16, 32], 32),
            ({16: 100, 32: 50, 64: 500}, 4096, [16, 32], 16),
        ],
    )
    def test_ends_where_more_is_no_faster(self, search, trainer, speeds, most, tried, best):
        assert [*search(speeds, most=most).found] == tried
        assert (
            f"Bind the train dataset's Input.global_batch_size = {best}, and remove the action" in trainer.reasons[-1]
        )

    def test_says_all_speeds(self, search, trainer):
        search({16: 1000, 32: 1900})
        assert trainer.reasons[-1].startswith(
            "BatchSizeFinder: examples per second by global batch size: 16: 1,000, 32: 1,900."
        )

    def test_not_even_the_first_fits(self, search):
        with pytest.raises(UsageError, match=r"Input.global_batch_size = 16 does not fit into memory"):
            search({})


class TestRun:
    def test_leaves_no_trace(self, trainer, make_trainer, monkeypatch, assert_same_weights):
        """The clock advances by a second a look: 16 and 32 are measured for the first update after that of the compilation."""
        finder = BatchSizeFinder(most=32, seconds=1.5)
        seconds = iter(range(1000))
        finder._clock = lambda: float(next(seconds))
        finder.start(trainer)
        # From 0 on: a look at 1 s runs a step, one at 2 s ends; at 3 s the speed is taken.
        assert finder.found == {16: pytest.approx(16 / 3), 32: pytest.approx(32 / 3)}
        assert trainer.step == 0
        assert int(trainer.optimizer.iterations.numpy()) == 0
        without = make_trainer(replicas=2, data=96)
        without.train()
        trainer.session.loop.run(0, 6)
        assert_same_weights(trainer, without)
        assert trainer.traces["train"] == 1

    def test_nothing_in_a_run_that_goes_on(self, trainer, caplog):
        trainer.session.progress.step_variable.assign(3)
        finder = BatchSizeFinder()
        finder.start(trainer)
        trainer.session.progress.step_variable.assign(0)
        assert finder.found == {}
        assert "BatchSizeFinder: expected a new run, and 3 steps are done: it does nothing" in caplog.text


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"most": 0}, r"BatchSizeFinder.most = 0: expected a whole number of at least 1"),
            ({"seconds": 0}, r"BatchSizeFinder.seconds = 0: expected a number of at least 0.01"),
        ],
    )
    def test_wrong_arguments_are_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            BatchSizeFinder(**arguments)

    def test_begins_with_the_bound_size(self, trainer):
        with pytest.raises(
            UsageError, match=r"BatchSizeFinder.most = 8: expected at least Input.global_batch_size = 16"
        ):
            BatchSizeFinder(most=8).check(trainer)


def test_another_batch_size_does_not_read_the_source_again(rows):
    from tallyloop.data import Input

    reads = []
    data = Input(lambda: reads.append(1) or rows(40), 16)
    assert data.batches_per_epoch == 3
    other = data.with_batch_size(8)
    assert (other.batches_per_epoch, other.global_batch_size, data.global_batch_size) == (5, 8, 16)
    assert len(reads) == 1
    np.testing.assert_array_equal(other.arrays["x"], data.arrays["x"])
