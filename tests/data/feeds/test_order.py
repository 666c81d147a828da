"""The rows of each step, worked out with NumPy and by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.order import Order
from tallyloop.data.feeds.permutation import permuted


def int64(values):
    return tf.constant(values, tf.int64)


def order_of(num_examples, batch_size, shuffle=False, seed=0, drop_remainder=False, endless=True):
    return Order(num_examples, batch_size, shuffle, seed, drop_remainder, endless)


class TestPlan:
    def test_ends_an_epoch_with_a_ragged_batch(self):
        rows, sizes = order_of(10, 4).plan(int64(1), int64(4))
        assert sizes.numpy().tolist() == [4, 2, 4, 4]
        assert rows.shape == [4, 4]
        assert rows.numpy()[0].tolist() == [4, 5, 6, 7]
        assert rows.numpy()[1, :2].tolist() == [8, 9]
        assert rows.numpy()[2].tolist() == [0, 1, 2, 3]
        assert rows.numpy().max() <= 9

    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize(("size", "batch"), [(10, 4), (12, 4), (3, 8), (1, 1), (103, 16)])
    def test_has_each_row_once_per_epoch(self, size, batch, shuffle):
        order = order_of(size, batch, shuffle, seed=5)
        steps = math.ceil(size / batch)
        assert order.batches_per_epoch == steps
        rows, sizes = order.plan(int64(0), int64(3 * steps))
        real = [row[:n].tolist() for row, n in zip(rows.numpy(), sizes.numpy(), strict=True)]
        for epoch in range(3):
            seen = [row for batch in real[epoch * steps : (epoch + 1) * steps] for row in batch]
            assert sorted(seen) == list(range(size))

    def test_leaves_out_the_short_batch_that_is_dropped(self):
        order = order_of(10, 4, shuffle=True, drop_remainder=True)
        rows, sizes = order.plan(int64(0), int64(6))
        assert sizes.numpy().tolist() == [4] * 6
        for epoch in range(3):
            assert len(set(rows.numpy()[2 * epoch : 2 * epoch + 2].ravel())) == 8

    def test_is_empty_past_the_end(self):
        _, sizes = order_of(10, 4, endless=False).plan(int64(1), int64(4))
        assert sizes.numpy().tolist() == [4, 2, 0, 0]

    def test_does_not_depend_on_where_it_starts(self):
        order, far = order_of(1437, 64, shuffle=True, seed=3), 10**6
        rows, sizes = order.plan(int64(far - 30), int64(60))
        later_rows, later_sizes = order.plan(int64(far), int64(30))
        np.testing.assert_array_equal(rows[30:], later_rows)
        np.testing.assert_array_equal(sizes[30:], later_sizes)
        # Step 10^6 of 23 per epoch: epoch 43,478, batch 6.
        expected = permuted(tf.range(6 * 64, 7 * 64, dtype=tf.int64), tf.fill([64], int64(43_478)), 1, 1437, 3)
        np.testing.assert_array_equal(later_rows[0], expected)

    def test_has_static_shapes_for_an_int(self):
        rows, sizes = (
            tf.function(lambda step: order_of(10, 4, shuffle=True).plan(step, 3))
            .get_concrete_function(tf.TensorSpec([], tf.int64))
            .structured_outputs
        )
        assert (rows.shape, sizes.shape) == ((3, 4), (3,))


@pytest.mark.parametrize(("size", "drop_remainder", "full_batch"), [(10, False, None), (12, False, 4), (10, True, 4)])
def test_the_full_batch_is_known_where_none_is_short(size, drop_remainder, full_batch):
    assert order_of(size, 4, drop_remainder=drop_remainder).full_batch == full_batch
