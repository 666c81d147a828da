"""A gradient of one variable: all of it, or the rows of a large table that are not 0."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ..distribution.reduction import added_by_row

Gradient = tf.Tensor | tf.IndexedSlices  # the second of a table, each of its rows once but for zeros

_SLOTS_PER_ROW = 8  # so an attempt leaves about one row of sixteen
_FACTOR = np.uint32(2654435761)  # Knuth's for multiplicative hashes; odd, as its powers are, which the attempts use
_MURMUR = tuple(
    (np.uint32(shift), np.uint32(factor)) for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1))
)


def of_variable(gradient: Gradient, variable: keras.Variable, by_rows: bool, in_xla: bool = False) -> Gradient:
    """Return what a tape gave: by its rows, each of them once, if that is wanted and only rows were read, else dense.

    A table that is also used as a whole, such as by a regularizer or as the last layer's kernel, has a dense gradient.
    """
    if by_rows and isinstance(gradient, tf.IndexedSlices) and not (in_xla and _has_all_rows(gradient, variable)):
        return _each_row_once(gradient, in_xla)
    found = dense(gradient)
    # Of the variable's shape: sums over replicas and norms then don't depend on their number.
    return found if found.shape == variable.shape else tf.ensure_shape(found, variable.shape)


def is_by_rows(gradient: Gradient) -> bool:
    """Return whether it is given by some of its rows."""
    return isinstance(gradient, tf.IndexedSlices)


def dense(gradient: Gradient) -> tf.Tensor:
    """Return all of it."""
    return tf.convert_to_tensor(gradient)


def numbers(gradient: Gradient) -> tf.Tensor:
    """Return all its numbers, or those that may not be 0."""
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient


def changed(gradient: Gradient, change: Callable[[tf.Tensor], tf.Tensor]) -> Gradient:
    """Return it with other numbers; `change` leaves 0 as it is."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(change(gradient.values), gradient.indices, gradient.dense_shape)
    return change(gradient)


def total(one: Gradient, other: Gradient, in_xla: bool = False) -> Gradient:
    """Return the sum of two gradients of a variable."""
    if isinstance(one, tf.IndexedSlices) and isinstance(other, tf.IndexedSlices):
        # One term of the loss may look up by int32, another by int64.
        rows = tf.concat([tf.cast(each.indices, tf.int64) for each in (one, other)], 0)
        values = tf.concat([one.values, other.values], 0)
        return _each_row_once(tf.IndexedSlices(values, rows, one.dense_shape), in_xla)
    return dense(one) + dense(other)


def _has_all_rows(slices: tf.IndexedSlices, variable: keras.Variable) -> bool:
    """Return whether there are as many slices as the variable has rows: in XLA, they stay as many."""
    count = slices.indices.shape.num_elements()
    return count is not None and count >= variable.shape[0]


def _each_row_once(slices: tf.IndexedSlices, in_xla: bool) -> tf.IndexedSlices:
    """Return the same sum, each row once; in XLA, where shapes are fixed, a row may come again with zeros."""
    if not in_xla:
        return added_by_row(slices)
    assert slices.dense_shape is not None, "a tape knows the table's shape"
    rows, size = slices.indices, tf.cast(slices.dense_shape[0], slices.indices.dtype)
    # XLA reads another row in the place of one that is not there; the sum leaves -1 out.
    exists = (rows >= 0) & (rows < size)
    last = tf.where(exists, _last_places(rows), -1)
    values = tf.math.unsorted_segment_sum(slices.values, last, tf.size(rows))
    return tf.IndexedSlices(values, rows, slices.dense_shape)


def _last_places(rows: tf.Tensor) -> tf.Tensor:
    """Return for each place the last one of the same row, in a time that doesn't grow with the table.

    Sorting takes XLA many times as long. Each attempt hashes the rows into slots. The last unsettled place in a slot settles all
    places of its row; the others try again with another hash. So each attempt settles at least one row; usually two or three
    attempts suffice.
    """
    places = tf.range(tf.size(rows))
    slots = _SLOTS_PER_ROW * tf.size(rows)

    def attempt(factor: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        slot = _hashed(rows, factor) % slots
        last = tf.gather(tf.math.unsorted_segment_max(tf.where(found < 0, places, -1), slot, slots), slot)
        settled = (last >= 0) & (tf.gather(rows, tf.maximum(last, 0)) == rows)
        return factor * _FACTOR, tf.where((found < 0) & settled, last, found)

    start = _FACTOR, tf.fill(tf.shape(rows), -1)
    return tf.while_loop(lambda _, found: tf.reduce_any(found < 0), attempt, start)[1]


def _hashed(rows: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return hashes from 0 to 2^31 - 1 of the lower 32 bits of row numbers, by the finalizer of MurmurHash3."""
    found = tf.cast(rows, tf.uint32) * factor
    for shift, multiplier in _MURMUR:
        found = tf.bitwise.bitwise_xor(found, tf.bitwise.right_shift(found, shift)) * multiplier
    return tf.cast(tf.bitwise.right_shift(found, np.uint32(1)), tf.int32)
