"""A gradient of one variable: all of it, or the rows of a large table that are not 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from ..distribution.reduction import added_by_row


class Scattered(NamedTuple):
    """A dense gradient of a table of which a step read some rows only, in XLA, where these cannot be told apart.

    Attributes:
      whole: of the table's shape.
      rows: int, of any shape; all other rows are 0. A number may occur again.
    """

    whole: tf.Tensor
    rows: tf.Tensor


Gradient = tf.Tensor | tf.IndexedSlices | Scattered  # the second of a table, each of its rows once


def of_variable(gradient: Gradient, variable: keras.Variable, by_rows: bool, in_xla: bool = False) -> Gradient:
    """Return what a tape gave: by its rows, each of them once, if that is wanted and only rows were read, else dense.

    A table that is also used as a whole, such as by a regularizer or as the last layer's kernel, has a dense gradient.
    """
    if by_rows and isinstance(gradient, tf.IndexedSlices):
        return Scattered(dense(gradient), gradient.indices) if in_xla else added_by_row(gradient)
    found = dense(gradient)
    # Of the variable's shape: sums over replicas and norms then don't depend on their number.
    return found if found.shape == variable.shape else tf.ensure_shape(found, variable.shape)


def is_by_rows(gradient: Gradient) -> bool:
    """Return whether it is given by some of its rows."""
    return isinstance(gradient, tf.IndexedSlices)


def dense(gradient: Gradient) -> tf.Tensor:
    """Return all of it."""
    return gradient.whole if isinstance(gradient, Scattered) else tf.convert_to_tensor(gradient)


def numbers(gradient: Gradient) -> tf.Tensor:
    """Return all its numbers, or those that may not be 0."""
    if isinstance(gradient, Scattered):
        return tf.gather(gradient.whole, gradient.rows)
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def changed(gradient: Gradient, change: Callable[[tf.Tensor], tf.Tensor]) -> Gradient:
    """Return it with other numbers; `change` leaves 0 as it is."""
    if isinstance(gradient, Scattered):
        return Scattered(change(gradient.whole), gradient.rows)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(change(gradient.values), gradient.indices, gradient.dense_shape)
    return change(gradient)


def total(one: Gradient, other: Gradient) -> Gradient:
    """Return the sum of two gradients of a variable."""
    if isinstance(one, Scattered) and isinstance(other, Scattered):
        return Scattered(one.whole + other.whole, _one_after_the_other(one.rows, other.rows))
    if isinstance(one, tf.IndexedSlices) and isinstance(other, tf.IndexedSlices):
        rows = _one_after_the_other(one.indices, other.indices)
        return added_by_row(tf.IndexedSlices(tf.concat([one.values, other.values], 0), rows, one.dense_shape))
    return dense(one) + dense(other)


def _one_after_the_other(*rows: tf.Tensor) -> tf.Tensor:
    # One term of the loss may look up by int32, another by int64.
    return tf.concat([tf.reshape(tf.cast(each, tf.int64), [-1]) for each in rows], 0)
