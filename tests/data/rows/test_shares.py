"""The rows that each replica has of each step are those that arrays in memory have."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.feed import Share
from tallyloop.data.feeds.order import Order
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
