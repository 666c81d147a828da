"""The referee of the standard deviation is arithmetic with fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics.finishers.finish import FINISHERS
from tallyloop.metrics.finishers.moments import std, tally_moments

X = np.array([[1.0, -2.0, 4.0], [0.5, 8.0, -1.0], [3.0, 3.0, 2.0], [9.0, 0.0, 1.0]])
MASK = np.array([1.0, 0.0, 1.0, 2.0])
NORMAL = np.random.default_rng(7).normal(size=300)
WEIGHTS = np.random.default_rng(8).uniform(0, 2, 300).astype(np.float32)
FAR = {
    "an offset of 1e8": 1e8 + NORMAL,
    "an offset of -1e8": NORMAL - 1e8,
    "Unix seconds": (1.7e9 + 9.92 * NORMAL).astype(np.int64),
    "Unix nanoseconds": 1_700_000_000_000_000_000 + (1e4 * NORMAL).astype(np.int64),
    "uint64": np.uint64(2**63) + np.abs(1e6 * NORMAL).astype(np.uint64),
    "the largest int64": 2**63 - 1 - np.abs(1e6 * NORMAL).astype(np.int64),
    "int32": 2**30 + (5 * NORMAL).astype(np.int32),
    "float32": (1e6 + NORMAL).astype(np.float32),
    "tiny": 1e-30 * NORMAL,
    "large": 1e30 * (5 + NORMAL),
    "of many sizes": np.exp(10 * NORMAL),
    "sorted, so that pieces differ": 1e8 + np.sort(NORMAL),
}


def exact(values, weights=None):
    """The standard deviation, rounded once."""
    values = [Fraction(value) for value in values.tolist()]
    weights = [Fraction(weight) for weight in ([1] * len(values) if weights is None else weights.tolist())]
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / sum(weights)
    return math.sqrt(sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True)) / sum(weights))


def in_pieces(values, weights=None, pieces=1, tally=tally_moments):
    """What the sums of several pieces give."""
    value, count = np.zeros([3, 19]), 0.0
    for rows in np.array_split(np.arange(len(values)), pieces):
        each = tally(tf.constant(values[rows]), None if weights is None else tf.constant(weights[rows]))
        value, count = value + each.value.numpy(), count + float(each.count)
    return std(value, np.asarray(count))


class TestStd:
    def test_is_that_of_the_population(self, finished):
        assert finished(X, finish="std") == {"m": pytest.approx(np.std(X), rel=1e-7)}
        weights = np.repeat(MASK[:, None], 3, 1)
        mean = np.average(X, weights=weights)
        expected = np.sqrt(np.average((X - mean) ** 2, weights=weights))
        assert finished(X, MASK, finish="std") == {"m": pytest.approx(expected, rel=1e-7)}

    def test_on_numbers_checked_by_hand(self):
        """Of 10^8 - 1 and 10^8 + 1, and of 1.7 * 10^9 - 3 (twice) and + 6."""
        assert in_pieces(np.array([1e8 - 1, 1e8 + 1])) == 1.0
        assert in_pieces(np.array([1_699_999_997, 1_699_999_997, 1_700_000_006])) == math.sqrt(18)

    @pytest.mark.parametrize("name", FAR)
    def test_far_from_zero_does_not_cancel(self, name):
        expected, weighted = exact(FAR[name]), exact(FAR[name], WEIGHTS)
        for pieces in (1, 2, 4, 37):
            assert in_pieces(FAR[name], None, pieces) == pytest.approx(expected, rel=1e-8)
            assert in_pieces(FAR[name], WEIGHTS, pieces) == pytest.approx(weighted, rel=1e-8)

    @pytest.mark.parametrize("name", ["an offset of 1e8", "Unix nanoseconds"])
    def test_in_xla(self, name):
        tally = tf.function(tally_moments, jit_compile=True)
        assert in_pieces(FAR[name], None, 2, tally) == pytest.approx(exact(FAR[name]), rel=1e-8)

    @pytest.mark.parametrize("replicas", [1, 2, 4])
    def test_over_replicas(self, evaluate, replicas):
        pieces = np.array_split(1e8 + NORMAL, [5, 5, 200][: replicas - 1])  # with 3 and more, one is empty
        found = evaluate(lambda piece: metrics.add("m", piece, finish="std"), pieces)
        assert found == {"m": pytest.approx(exact(1e8 + NORMAL), rel=1e-12)}

    def test_equal_values_have_none(self):
        assert in_pieces(np.full(1000, 0.1), None, 7) == pytest.approx(0.0, abs=1e-15)
        assert in_pieces(np.full(300, 4097.3, np.float32), WEIGHTS, 7) == pytest.approx(0.0, abs=1e-9)

    def test_of_bools_and_low_precision(self):
        assert in_pieces(np.array([True, False, False, True])) == 0.5
        tally = FINISHERS["std"].tally(tf.constant([1.0, 3.0], tf.bfloat16), tf.constant([1.0, 2.0], tf.bfloat16))
        assert FINISHERS["std"].finish(tally.value.numpy(), tally.count.numpy()) == pytest.approx(math.sqrt(8 / 9))
        assert float(tally.count) == 3.0

    def test_no_digit_is_lost_in_a_million_sums(self):
        """The sums of a long evaluation: all digits stay whole numbers below 2^53."""
        tally = tally_moments(tf.constant([1e8 - 1, 1e8 + 1], tf.float64), None)
        assert std(tally.value.numpy() * 2.0**20, tally.count.numpy() * 2.0**20) == 1.0

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_of_a_non_finite_value_is_nan(self, bad):
        assert math.isnan(in_pieces(np.array([1.0, bad, 2.0])))
        assert in_pieces(np.array([1.0, bad, 2.0]), np.array([1.0, 0.0, 1.0])) == 0.5

    def test_refuses_what_is_not_a_number(self):
        with pytest.raises(metrics.UsageError, match="got dtype string"):
            tally_moments(tf.constant(["a"]), None)
