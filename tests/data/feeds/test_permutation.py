"""The permutation, compared with one written plainly in Python."""

import functools
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.permutation import permuted

ROUNDS = 6


def int64(values):
    return tf.constant(values, tf.int64)


def permutation(size, epoch, seed=0):
    return permuted(tf.range(size, dtype=tf.int64), tf.fill([size], int64(epoch)), 1, size, seed).numpy()


@functools.cache
def drawn(columns, epoch, seed):
    shape, key = [ROUNDS, columns], int64([seed, epoch])
    return tf.random.stateless_uniform(shape, key, 0, tf.int64.max, tf.int64, alg="philox").numpy()


def plainly_permuted(position, epoch, size, seed):
    """One position after the other, with Python's integers, from the same random numbers."""
    columns = math.isqrt(size - 1) + 1
    rows = math.ceil(size / columns)
    numbers = drawn(columns, epoch, seed)
    cell = position
    while True:
        row, column = divmod(cell, columns)
        for turn in range(ROUNDS // 2):
            row = (row + int(numbers[2 * turn, column])) % rows
            column = (column + int(numbers[2 * turn + 1, row])) % columns
        cell = row * columns + column
        if cell < size:
            return cell


def assert_uniform(seen):
    """By a chi-square that chance exceeds once in 30,000 cases (Wilson and Hilferty's approximation)."""
    expected, freedom = seen.sum() / len(seen), len(seen) - 1
    ratio = ((seen - expected) ** 2 / expected).sum() / freedom
    assert (ratio ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom)) < 4


class TestPermuted:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 32, 33, 103, 1437])
    def test_is_one_to_one_in_every_epoch(self, size):
        for epoch in (0, 1, 10**6):
            assert sorted(permutation(size, epoch)) == list(range(size))

    @pytest.mark.parametrize("size", [33, 37, 103])
    def test_equals_the_plain_one(self, size):
        for epoch, seed in [(0, 0), (3, 7), (2**33, 2**32 - 1)]:
            expected = [plainly_permuted(position, epoch, size, seed) for position in range(size)]
            assert permutation(size, epoch, seed).tolist() == expected

    @pytest.mark.parametrize("size", [2**30, 2**30 + 1, 2**34])
    def test_equals_the_plain_one_for_very_many(self, size):
        positions = [0, size // 3, size - 1]
        found = permuted(int64(positions), tf.fill([3], int64(2)), 1, size, 5)
        assert found.dtype == tf.int64
        assert found.numpy().tolist() == [plainly_permuted(position, 2, size, 5) for position in positions]

    def test_of_a_step_far_into_a_run(self):
        positions = range(6 * 64, 7 * 64)
        found = permuted(int64([*positions]), tf.fill([64], int64(43_478)), 1, 1437, 3)
        assert found.numpy().tolist() == [plainly_permuted(position, 43_478, 1437, 3) for position in positions]

    @pytest.mark.parametrize("size", [11, 103])
    def test_permutes_several_epochs_at_once(self, size):
        positions = tf.tile(tf.range(size, dtype=tf.int64), [3])
        together = permuted(positions, tf.repeat(int64([4, 5, 9]), size), 6, size, 2).numpy().reshape(3, size)
        for row, epoch in zip(together, [4, 5, 9], strict=True):
            assert row.tolist() == permutation(size, epoch, 2).tolist()

    @pytest.mark.parametrize("size", [16, 103])
    def test_is_the_same_in_xla(self, size):
        compiled = tf.function(lambda: permuted(tf.range(size, dtype=tf.int64), tf.fill([size], int64(3)), 1, size, 0))
        assert tf.function(compiled, jit_compile=True)().numpy().tolist() == permutation(size, 3).tolist()

    def test_changes_with_epoch_and_seed(self):
        orders = [permutation(50, epoch, seed).tolist() for epoch, seed in [(0, 0), (1, 0), (0, 1), (1, 1)]]
        assert len({tuple(order) for order in orders}) == 4


class TestRandomness:
    @staticmethod
    def orders(size, epochs, seed=0):
        """The orders of many epochs, (epochs, size)."""
        positions, each = tf.tile(tf.range(size, dtype=tf.int64), [epochs]), tf.range(epochs, dtype=tf.int64)
        return tf.function(permuted)(positions, tf.repeat(each, size), epochs, size, seed).numpy().reshape(epochs, size)

    @pytest.mark.parametrize("size", [2, 3, 4, 5])
    def test_every_order_is_equally_likely(self, size):
        cells, epochs = math.factorial(size), 200 * math.factorial(size)
        numbers = {order: i for i, order in enumerate(itertools.permutations(range(size)))}
        seen = np.bincount([numbers[tuple(row)] for row in self.orders(size, epochs).tolist()], minlength=cells)
        assert_uniform(seen)

    @pytest.mark.parametrize(
        "size", [*range(6, 17), 33, *(pytest.param(size, marks=pytest.mark.slow) for size in (32, 40, 64, 100))]
    )
    def test_every_pair_of_rows_is_equally_likely_in_two_places(self, size):
        """At the start of an epoch, and at its end."""
        orders, pairs = self.orders(size, max(2000, 5 * size**2)), ~np.eye(size, dtype=bool)
        for first, second in ((0, 1), (size - 2, size - 1), (0, size - 1)):
            seen = np.bincount(orders[:, first] * size + orders[:, second], minlength=size**2).reshape(size, size)
            assert_uniform(seen[pairs])

    def test_few_neighbors_stay_neighbors(self):
        # Two of the pairs of a random order are neighbors, on average and whatever its length.
        left = [np.sum(np.abs(np.diff(permutation(1437, epoch))) == 1) for epoch in range(40)]
        assert 1.2 < np.mean(left) < 2.8  # standard deviation of the mean: 0.22
        assert max(left) <= 9


def test_the_network_is_in_the_graph_once():
    """It is most of what is traced and optimized before a run's first step."""
    graph = tf.function(permuted).get_concrete_function(int64([0, 1]), int64([0, 0]), 1, 103, 0).graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert sum(node.op == "GatherV2" for node in nodes) == ROUNDS
