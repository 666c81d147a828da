"""The standard deviation from sums that do not cancel, however far the values are from 0."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import tensorflow as tf

from ..tally import Tally, align_weights, summed_dtype

# The digits of a fixed-point number: 19 in base 2^30, from 2^-300 to 2^270. 2^23 numbers add up without rounding, digit by digit.
_BASE = 30
_EXPONENTS = range(-300, 270, _BASE)
_LOW_HALF = 2**27 - 1  # the lower half of the significant bits of a float64


def tally_moments(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
    """Return the sums of w, w * x and w * x^2 as fixed-point numbers, (3, digits), whose sums are exact.

    x = K + d and d = m + e, with a pivot K near the mean of x, and m near that of d. No digit is lost in them, nor in the
    products that make sums of x out of sums of d and e. What is rounded is the sum of e^2, and it has no need to cancel.
    """
    values = tf.convert_to_tensor(values)
    summed_dtype(values.dtype)  # refuses what is not a number
    high, low = _parts(values)
    if weights is None:
        weight = tf.cast(tf.size(high, out_type=tf.int64), tf.float64)
    else:
        weights = align_weights(tf.cast(weights, tf.float64), high)
        weight = tf.reduce_sum(weights)
    pivot = _short_ratio(_weighted_sum(tf.cast(values, tf.float64), weights), weight)
    shifted = high - pivot if low is None else (high - pivot) + low
    first = _weighted_sum(shifted, weights)
    rest = _short_ratio(first, weight)
    second = _weighted_sum((shifted - rest) ** 2, weights)
    terms = _terms(tf.stack([weight, first, second]), tf.stack([pivot, rest]))
    return Tally(tf.matmul(tf.constant(_ADDED_UP, tf.float64), _fixed_point(terms)), weight)


def std(value: np.ndarray, count: np.ndarray) -> float:
    """Return the population standard deviation: sqrt(E[x^2] - E[x]^2), with fractions."""
    if not np.isfinite(value).all():
        return math.nan
    weight, first, second = (
        sum(Fraction(digit) * Fraction(2) ** exponent for digit, exponent in zip(row.tolist(), _EXPONENTS, strict=True))
        for row in value
    )
    return math.sqrt(max(weight * second - first**2, Fraction(0)) / weight**2)


def _parts(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return two float64 numbers whose sum is exactly the value; one, where one is enough."""
    if not (values.dtype.is_integer and values.dtype.size == 8):
        return tf.cast(values, tf.float64), None
    high = values // 2**32
    return tf.cast(high, tf.float64) * 2.0**32, tf.cast(values - high * 2**32, tf.float64)


def _weighted_sum(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    return tf.reduce_sum(values if weights is None else tf.math.multiply_no_nan(values, weights))


def _short_ratio(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the quotient with half of the bits, and 0 of nothing."""
    return _halves(tf.math.divide_no_nan(first, second))[0]


def _halves(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return float64 numbers as a sum of two with half of the bits each, so that products of halves are exact."""
    high = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(numbers, tf.int64), ~_LOW_HALF), tf.float64)
    return high, numbers - high


def _terms(sums: tf.Tensor, pivots: tf.Tensor) -> tf.Tensor:
    """Return the exact terms of w, w * x and w * x^2, (19,), from the sums W, D and E of w, w * d and w * e^2.

    sum(w x) = W K + D, and sum(w x^2) = W K^2 + 2 D K + sum(w d^2), where sum(w d^2) = E + 2 D m - W m^2. `_ADDED_UP` says which
    term is of which sum.
    """
    weight, first, _ = tf.unstack(sums)
    halves = tf.stack(_halves(tf.concat([[weight, 2 * first], pivots**2], 0)), 1)  # (4, 2), of W, 2 D, K^2, m^2
    products = pivots[:, tf.newaxis, tf.newaxis] * halves[:2]  # (2, 2, 2), of K and m with W and 2 D
    squares = halves[2:, :, tf.newaxis] * halves[0]  # (2, 2, 2), of K^2 and m^2 with W
    return tf.concat([sums, tf.reshape(products, [-1]), tf.reshape(squares, [-1])], 0)


# How the terms of `_terms` make the three sums.
_ADDED_UP = [
    [1, 0, 0] + [0, 0, 0, 0] * 4,
    [0, 1, 0] + [1, 1, 0, 0] + [0, 0, 0, 0] * 3,
    [0, 0, 1] + [0, 0, 1, 1] * 2 + [1, 1, 1, 1] + [-1, -1, -1, -1],
]


def _fixed_point(numbers: tf.Tensor) -> tf.Tensor:
    """Return numbers, (n,), as fixed-point numbers, (n, digits), lowest digit first.

    Digits have a sign. The lowest one keeps a fraction, and the highest one has no bound: outside of the range, a number is
    as exact as a float64.
    """
    scaled = numbers[:, tf.newaxis] * tf.constant([2.0**-exponent for exponent in _EXPONENTS], tf.float64)
    above = tf.round(scaled[:, 1:])
    return tf.concat([scaled[:, :1], above], 1) - tf.pad(above * 2.0**_BASE, [[0, 0], [0, 1]])
