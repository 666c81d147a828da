"""The tally: a metric as a pair of sums."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import tensorflow as tf

from .errors import UsageError


class Tally(NamedTuple):
    """A metric before it is finished: `value` / `count` is the weighted mean.

    Both fields are sums over examples, so the tallies of replicas and steps add up; means do not. A tally is a tuple, so
    `strategy.run`, `tf.nest` and `tf.function` carry it as it is.

    Attributes:
      value: a sum of any shape and numeric dtype: a scalar, one number per class, a confusion matrix.
      count: the sum of the weights: a scalar, or broadcastable to `value`. 0 means "no examples".
    """

    value: Any
    count: Any


def tally(values: tf.Tensor, weights: tf.Tensor | None = None, keep_axis: int | None = None) -> Tally:
    """Sum `values`, weighted.

    Args:
      values: any shape; bool and integers are summed exactly, 16-bit floats in float32.
      weights: None (each element counts 1), or a shape that is a prefix of the shape of `values`: one weight per example,
        or one per token. Elements of weight 0 are selected away before anything is multiplied, so that a NaN under a mask
        does not reach the sum.
      keep_axis: sum over all axes but this one; -1 for one number per class.

    Returns:
      Tally of sum(w * x) and sum(w), each of shape () or of the size of `keep_axis`.

    Raises:
      UsageError: the values or weights are not numeric, or their shapes do not fit.
    """
    values = summable(values)
    axes = _other_axes(values, keep_axis)
    if weights is None:
        return Tally(tf.reduce_sum(values, axis=axes), _elements_per_sum(values, keep_axis))
    weights = align_weights(tf.convert_to_tensor(weights), values)
    return Tally(
        tf.reduce_sum(_weighted(values, weights), axis=axes),
        tf.reduce_sum(summable(weights), axis=axes),
    )


def add_tallies(a: Tally, b: Tally, combine: Literal["sum", "max"] = "sum") -> Tally:
    """Return the tally of the examples of both.

    Args:
      a: a tally.
      b: a tally of the same shape.
      combine: "sum" adds the values, "max" keeps the larger one; counts always add up. Where the dtypes differ, the
        result is float64.
    """
    a, b = (Tally(*map(tf.convert_to_tensor, each)) for each in (a, b))
    dtype, count_dtype = _common_dtype(a.value, b.value), _common_dtype(a.count, b.count)
    values = tf.cast(a.value, dtype), tf.cast(b.value, dtype)
    count = tf.cast(a.count, count_dtype) + tf.cast(b.count, count_dtype)
    return Tally(tf.maximum(*values) if combine == "max" else tf.add(*values), count)


def align_weights(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Broadcast `weights` to the shape of `values` from the left: (b,) against (b, t) weights whole rows.

    Raises:
      UsageError: the shapes do not fit.
    """
    check_weights(weights.shape, values.shape)
    if weights.shape.is_fully_defined() and weights.shape == values.shape:
        return weights
    extra = weights.shape.rank - values.shape.rank
    if extra > 0:
        weights = tf.reshape(weights, tf.shape(weights)[:-extra])
    for _ in range(-extra):
        weights = tf.expand_dims(weights, -1)
    return tf.broadcast_to(weights, tf.shape(values))


def check_weights(weights: tf.TensorShape, values: tf.TensorShape) -> None:
    """Check that `align_weights` can broadcast these shapes.

    Raises:
      UsageError: it cannot.
    """
    leading, rest = weights[: values.rank], weights[values.rank :]
    if any(size != 1 for size in rest) or any(
        None not in (w, v) and w not in (1, v) for w, v in zip(leading, values[: leading.rank], strict=True)
    ):
        raise UsageError(
            f"The weights' shape {tuple(weights)} does not fit the values' shape {tuple(values)}: expected one weight for "
            "each leading index, such as (batch,) or (batch, time)."
        )


def summable(values: tf.Tensor) -> tf.Tensor:
    """Return `values` in the dtype of `summed_dtype`."""
    values = tf.convert_to_tensor(values)
    return tf.cast(values, summed_dtype(values.dtype))


def summed_dtype(dtype: tf.DType) -> tf.DType:
    """Return the dtype to sum values of `dtype` in: int64 for bool and integers, float32 for 16-bit floats.

    Raises:
      UsageError: the values are not numbers.
    """
    if dtype.is_bool or dtype.is_integer:
        return tf.int64
    if dtype.is_floating:
        return tf.float64 if dtype == tf.float64 else tf.float32
    raise UsageError(f"A metric's values: expected numbers or bools, got dtype {dtype.name}.")


def _common_dtype(a: tf.Tensor, b: tf.Tensor) -> tf.DType:
    return a.dtype if a.dtype == b.dtype else tf.float64


def _weighted(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the product; 0 where the weight is 0, whatever the value is."""
    if values.dtype.is_integer and not weights.dtype.is_floating:
        return values * tf.cast(weights, values.dtype)
    dtype = values.dtype if values.dtype.is_floating else summed_dtype(weights.dtype)
    return tf.math.multiply_no_nan(tf.cast(values, dtype), tf.cast(weights, dtype))


def _other_axes(values: tf.Tensor, keep_axis: int | None) -> list[int] | None:
    """Return the axes to sum over; None for all."""
    if keep_axis is None:
        return None
    return [axis for axis in range(values.shape.rank) if axis != keep_axis % values.shape.rank]


def _elements_per_sum(values: tf.Tensor, keep_axis: int | None) -> tf.Tensor:
    """Return how many elements go into each sum; a tensor of the replica, as a constant cannot be reduced."""
    if keep_axis is None:
        return tf.size(values, out_type=tf.int64)
    sizes = tf.shape(values, out_type=tf.int64)
    others = tf.concat([sizes[: keep_axis % values.shape.rank], sizes[keep_axis % values.shape.rank + 1 :]], 0)
    return tf.fill([sizes[keep_axis]], tf.reduce_prod(others))
