"""The order of the examples: worked out with NumPy and with a permutation written plainly."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.order import Order
from tallyloop.data.feeds.permutation import permuted

ROUNDS = 6


def int64(values):
    return tf.constant(values, tf.int64)


def permutation(size, epoch, seed=0):
    return permuted(tf.range(size, dtype=tf.int64), tf.fill([size], int64(epoch)), 1, size, seed).numpy()


def plainly_permuted(position, epoch, size, seed):
    """One position after the other, with Python's integers, from the same random numbers."""
    columns = math.isqrt(size - 1) + 1
    rows = math.ceil(size / columns)
    drawn = tf.random.stateless_uniform(
        [6, columns], int64([seed, epoch]), 0, tf.int64.max, tf.int64, alg="philox"
    ).numpy()
    cell = position
    while True:
        row, column = divmod(cell, columns)
        for turn in range(3):
            row = (row + int(drawn[2 * turn, column])) % rows
            column = (column + int(drawn[2 * turn + 1, row])) % columns
        cell = row * columns + column
        if cell < size:
            return cell


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 17, 103, 1437])
def test_every_epoch_is_a_permutation(size):
    for epoch in (0, 1, 10**6):
        assert sorted(permutation(size, epoch)) == list(range(size))


@pytest.mark.parametrize("size", [2, 5, 11, 103])
def test_permutation_is_the_plain_one(size):
    for epoch, seed in [(0, 0), (3, 7), (2**33, 2**32 - 1)]:
        expected = [plainly_permuted(position, epoch, size, seed) for position in range(size)]
        assert permutation(size, epoch, seed).tolist() == expected


@pytest.mark.parametrize("size", [2**30, 2**30 + 1, 2**34])
def test_permutation_of_very_many_is_the_plain_one(size):
    positions = [0, size // 3, size - 1]
    found = permuted(int64(positions), tf.fill([3], int64(2)), 1, size, 5)
    assert found.dtype == tf.int64
    assert found.numpy().tolist() == [plainly_permuted(position, 2, size, 5) for position in positions]


def test_several_epochs_at_once_are_each_their_own():
    positions = tf.tile(tf.range(11, dtype=tf.int64), [3])
    together = permuted(positions, tf.repeat(int64([4, 5, 9]), 11), 6, 11, 2).numpy().reshape(3, 11)
    for row, epoch in zip(together, [4, 5, 9], strict=True):
        assert row.tolist() == permutation(11, epoch, 2).tolist()


def test_every_permutation_of_four_comes_about_as_often():
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    epochs = 2400
    flat = tf.function(permuted)(
        tf.tile(tf.range(4, dtype=tf.int64), [epochs]), tf.repeat(tf.range(epochs, dtype=tf.int64), 4), epochs, 4, 0
    )
    for row in flat.numpy().reshape(epochs, 4):
        counts[tuple(row.tolist())] += 1
    assert min(counts.values()) > 50  # 100 is the mean, with a standard deviation of 9.8
    assert max(counts.values()) < 150


def test_few_neighbours_stay_neighbours():
    # Two of the pairs of a random order are neighbours, on average and whatever its length.
    left = [np.sum(np.abs(np.diff(permutation(1437, epoch))) == 1) for epoch in range(40)]
    assert 1.2 < np.mean(left) < 2.8  # standard deviation of the mean: 0.22
    assert max(left) <= 9


def test_ragged_last_batch():
    rows, sizes = Order(10, 4, False, 0, False, True).plan(int64(1), int64(4))
    assert sizes.numpy().tolist() == [4, 2, 4, 4]
    assert rows.shape == [4, 4]
    assert rows.numpy()[0].tolist() == [4, 5, 6, 7]
    assert rows.numpy()[1, :2].tolist() == [8, 9]
    assert rows.numpy()[2].tolist() == [0, 1, 2, 3]
    assert rows.numpy().max() <= 9


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("size", "batch"), [(10, 4), (12, 4), (3, 8), (1, 1), (103, 16)])
def test_each_epoch_has_each_row_once(size, batch, shuffle):
    order = Order(size, batch, shuffle, 5, False, True)
    steps = math.ceil(size / batch)
    assert order.batches_per_epoch == steps
    rows, sizes = order.plan(int64(0), int64(3 * steps))
    real = [row[:n].tolist() for row, n in zip(rows.numpy(), sizes.numpy(), strict=True)]
    for epoch in range(3):
        seen = [row for batch in real[epoch * steps : (epoch + 1) * steps] for row in batch]
        assert sorted(seen) == list(range(size))


def test_drop_remainder_leaves_the_short_batch_out():
    order = Order(10, 4, True, 0, True, True)
    rows, sizes = order.plan(int64(0), int64(6))
    assert sizes.numpy().tolist() == [4] * 6
    for epoch in range(3):
        assert len(set(rows.numpy()[2 * epoch : 2 * epoch + 2].ravel())) == 8


def test_the_order_changes_with_epoch_and_seed():
    orders = [permutation(50, epoch, seed).tolist() for epoch, seed in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    assert len({tuple(order) for order in orders}) == 4


def test_a_plan_is_the_same_from_wherever_it_starts():
    order = Order(1437, 64, True, 3, False, True)
    far = 10**6
    rows, sizes = order.plan(int64(far - 30), int64(60))
    later_rows, later_sizes = order.plan(int64(far), int64(30))
    np.testing.assert_array_equal(rows[30:], later_rows)
    np.testing.assert_array_equal(sizes[30:], later_sizes)
    # Step 10^6 of 23 a epoch: epoch 43,478, batch 6.
    expected = [plainly_permuted(position, 43_478, 1437, 3) for position in range(6 * 64, 7 * 64)]
    assert later_rows.numpy()[0].tolist() == expected


def test_the_network_is_in_the_graph_once():
    """It is most of what is traced and optimized before a run's first step."""
    graph = tf.function(permuted).get_concrete_function(int64([0, 1]), int64([0, 0]), 1, 103, 0).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert sum(node.op == "GatherV2" for node in nodes) == ROUNDS
