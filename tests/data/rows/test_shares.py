"""The rows that each replica has of each step are those that arrays in memory have."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.feed import Share
from tallyloop.data.feeds.order import Order
from tallyloop.data.rows import shares as module
from tallyloop.data.rows.shares import Shares


def order(**arguments):
    defaults = {
        "num_examples": 103,
        "batch_size": 10,
        "shuffle": True,
        "seed": 3,
        "drop_remainder": False,
        "endless": True,
    }
    return Order(**{**defaults, **arguments})


class TestShares:
    @pytest.mark.parametrize("arguments", [{}, {"shuffle": False}, {"drop_remainder": True}, {"num_examples": 7}])
    @pytest.mark.parametrize("count", [1, 3])
    def test_are_those_of_the_global_batch(self, arguments, count):
        """Over several epochs, from the first step and from far away; the shares of a batch follow each other."""
        given = order(**arguments)
        shares = Shares(given)
        for step in (0, 1, 9, 10, 63, 64, 65, 10**9, 10**9 + 1):
            rows, sizes = (
                each.numpy()[0] for each in given.plan(tf.constant(step, tf.int64), tf.constant(1, tf.int64))
            )
            found = [shares.rows(step, Share(i, count)) for i in range(count)]
            assert {epoch for epoch, _ in found} == {step // given.batches_per_epoch}
            if sizes >= count:
                np.testing.assert_array_equal(np.concatenate([each for _, each in found]), rows[:sizes])

    def test_without_an_example_borrow_one(self):
        """3 examples are left for 4 replicas; and past the end of an evaluation there is none."""
        short = Shares(order())
        assert [len(short.rows(10, Share(i, 4))[1]) for i in range(4)] == [1, 1, 1, 1]
        ended = Shares(order(endless=False, shuffle=False))
        assert [len(ended.rows(step, Share(1, 2))[1]) for step in (10, 11, 500)] == [2, 1, 1]

    def test_an_epoch_has_each_row_once(self):
        shares = Shares(order())
        for epoch in (0, 1, 7):
            found = [shares.rows(11 * epoch + step, Share(i, 2))[1] for step in range(11) for i in range(2)]
            assert sorted(np.concatenate(found)) == list(range(103))


class Numbers:
    """Row i is i; with a list, it has an order of its own, and notes the (epoch, position) of each row that it is asked for."""

    def __init__(self, asked=None):
        self._asked = asked
        if asked is not None:
            self.arranged = self._arranged

    def __len__(self):
        return 103

    def __getitems__(self, rows):
        return {"y": rows}

    def _arranged(self, positions, epochs, **options):
        self._asked += zip(epochs.tolist(), positions.tolist(), strict=True)
        return positions


# Of the second of three workers: three rows of a batch, and one of the last of an epoch; in the steps that are drawn at once.
MINE = [(step // 11, 10 * (step % 11) + row) for step in range(64) for row in ([1] if step % 11 == 10 else [3, 4, 5])]


class TestDrawing:
    """103 rows in batches of 10: 11 an epoch, the last of 3."""

    @pytest.fixture
    def asked(self, monkeypatch):
        """The (epoch, position) of each number that the permutation gave."""
        found, permuted = [], module.permuted

        def noted(positions, epochs, *others):
            def note(positions, epochs):
                found.extend(zip(epochs.tolist(), positions.tolist(), strict=True))
                return positions

            return permuted(tf.numpy_function(note, [positions, epochs], tf.int64), epochs, *others)

        monkeypatch.setattr(module, "permuted", noted)
        monkeypatch.setattr(module, "_ROWS", 0)
        return found

    @pytest.mark.parametrize("ordered", [False, True])
    def test_is_for_the_rows_of_the_worker_only(self, asked, read, ordered):
        """By the permutation, or by the source that has an order of its own, and not by both."""
        own = []
        feed = Input(Numbers(own if ordered else None), 10).open_train(1, 3)
        assert len(read(feed, 0, 1)[0]["y"]) == 3
        feed._reader.stop()
        drawn, none = (own, asked) if ordered else (asked, own)
        assert drawn[: len(MINE)] == MINE
        assert all(3 <= position % 10 < 6 or position == 101 for _, position in drawn)
        assert len(drawn) == len(set(drawn))
        assert not none
