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
_ADDED_UP = [[1] + [0] * 10, [0, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1]]  # see `_terms`
_LOW_HALF = 2**27 - 1  # the lower half of the significant bits of a float64


def tally_moments(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
    """Return the sums of w, w * x and w * x^2 as fixed-point numbers, (3, digits), whose sums are exact.

    x is taken relative to a pivot K near the mean of these values: in d = x - K no digit is lost, nor in the products that
    make sums of x out of sums of d. What is rounded is the sum of d^2, and it has no need to cancel.
    """
    values = tf.convert_to_tensor(values)
    summed_dtype(values.dtype)  # refuses what is not a number
    high, low = _parts(values)
    if weights is None:
        weight = tf.cast(tf.size(high, out_type=tf.int64), tf.float64)
    else:
        weights = align_weights(tf.cast(weights, tf.float64), high)
        weight = tf.reduce_sum(weights)
    mean = tf.math.divide_no_nan(_weighted_sum(tf.cast(values, tf.float64), weights), weight)
    pivot = _halves(mean)[0]
    shifted = high - pivot if low is None else (high - pivot) + low
    first, second = _weighted_sum(shifted, weights), _weighted_sum(shifted**2, weights)
    terms = _terms(tf.stack([weight, first, second]), pivot)
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


def _halves(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return float64 numbers as a sum of two with half of the bits each, so that products of halves are exact."""
    high = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(numbers, tf.int64), ~_LOW_HALF), tf.float64)
    return high, numbers - high


def _terms(sums: tf.Tensor, pivot: tf.Tensor) -> tf.Tensor:
    """Return the exact terms of w, w * x and w * x^2, (11,), from the sums W, D1 and D2 of w, w * d and w * d^2.

    x = K + d, so that sum(w x) = W K + D1, and sum(w x^2) = W K^2 + 2 K D1 + D2. `_ADDED_UP` says which term is of which sum.
    """
    weight, first, _ = tf.unstack(sums)
    halves = tf.stack(_halves(tf.stack([weight, 2 * first, pivot**2])), 1)  # (3, 2)
    squares = halves[0][:, tf.newaxis] * halves[2]
    return tf.concat([sums, tf.reshape(pivot * halves[:2], [-1]), tf.reshape(squares, [-1])], 0)


def _fixed_point(numbers: tf.Tensor) -> tf.Tensor:
    """Return numbers, (n,), as fixed-point numbers, (n, digits), lowest digit first.

    Digits have a sign. The lowest one keeps a fraction, and the highest one has no bound: outside of the range, a number is
    as exact as a float64.
    """
    scaled = numbers[:, tf.newaxis] * tf.constant([2.0**-exponent for exponent in _EXPONENTS], tf.float64)
    above = tf.round(scaled[:, 1:])
    return tf.concat([scaled[:, :1], above], 1) - tf.pad(above * 2.0**_BASE, [[0, 0], [0, 1]])
