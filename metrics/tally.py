"""The tally: a metric as a pair of sums."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from .errors import UsageError


class Tally(NamedTuple):
    """A metric before it is finished: `value` / `count` is the weighted mean.

    Both are sums over examples, so tallies of replicas and steps add up; means do not. A tuple, so
    that `strategy.run`, `tf.nest` and `tf.function` carry it as it is.

    Attributes:
      value: a sum of any shape and numeric dtype: a scalar, one number a class, a confusion matrix.
      count: the sum of the weights, a scalar or broadcastable to `value`. 0 means "no examples".
    """

    value: Any
    count: Any


def tally(values: tf.Tensor, weights: tf.Tensor | None = None, keep_axis: int | None = None) -> Tally:
    """Sums `values`, weighted.

    Args:
      values: any shape; bool and integers are summed exactly, 16-bit floats in float32.
      weights: None (each element counts 1), or a shape that is a prefix of the shape of `values` (one weight an
        example, one a token). Elements of weight 0 are selected away before anything is multiplied, so
        a NaN under a mask does not reach the sum.
      keep_axis: sum over all axes but this one: -1 for one number a class.

    Returns:
      Tally of sum(w * x) and sum(w), both with the shape () or that of `keep_axis`.
    """
    values = summable(values)
    axes = (
        None
        if keep_axis is None
        else [axis for axis in range(values.shape.rank) if axis != keep_axis % values.shape.rank]
    )
    if weights is None:
        return Tally(_sum(values, axes), _size(values, keep_axis))
    weights = align_weights(tf.convert_to_tensor(weights), values)
    return Tally(_sum(_weighed(values, weights), axes), _sum(summable(weights), axes))


def align_weights(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Broadcasts `weights` to the shape of `values` from the left: (b,) against (b, t) weighs whole rows.

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
        weights = weights[..., tf.newaxis]
    return tf.broadcast_to(weights, tf.shape(values))


def check_weights(weights: tf.TensorShape, values: tf.TensorShape) -> None:
    """Refuses weights that `align_weights` cannot broadcast.

    Raises:
      UsageError: the shapes do not fit.
    """
    leading, rest = weights[: values.rank], weights[values.rank :]
    if any(size != 1 for size in rest) or any(
        None not in (w, v) and w not in (1, v) for w, v in zip(leading, values[: leading.rank], strict=True)
    ):
        raise UsageError(
            f"The weights' shape {tuple(weights)} does not fit the values' shape {tuple(values)}: wanted "
            "one weight for each leading index, such as (batch,) or (batch, time)."
        )


def summable(values: tf.Tensor) -> tf.Tensor:
    """In a dtype whose sums stay exact."""
    values = tf.convert_to_tensor(values)
    return tf.cast(values, summed_dtype(values.dtype))


def summed_dtype(dtype: tf.DType) -> tf.DType:
    """In which values are summed: bool and integers as int64, 16-bit floats as float32.

    Raises:
      UsageError: the values are no numbers.
    """
    if dtype.is_bool or dtype.is_integer:
        return tf.int64
    if dtype.is_floating:
        return tf.float64 if dtype == tf.float64 else tf.float32
    raise UsageError(f"A metric must be numeric or bool, got dtype {dtype.name}.")


def _weighed(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The product; 0 where the weight is 0, whatever the value is."""
    if values.dtype.is_integer and not weights.dtype.is_floating:
        return values * tf.cast(weights, values.dtype)
    dtype = values.dtype if values.dtype.is_floating else summed_dtype(weights.dtype)
    return tf.math.multiply_no_nan(tf.cast(values, dtype), tf.cast(weights, dtype))


def _sum(values: tf.Tensor, axes: list[int] | None) -> tf.Tensor:
    return tf.reduce_sum(values, axis=axes)


def _size(values: tf.Tensor, keep_axis: int | None) -> tf.Tensor:
    """How many elements each sum has; a tensor of the replica, as a constant cannot be reduced."""
    if keep_axis is None:
        return tf.size(values, out_type=tf.int64)
    sizes = tf.shape(values, out_type=tf.int64)
    others = tf.concat([sizes[: keep_axis % values.shape.rank], sizes[keep_axis % values.shape.rank + 1 :]], 0)
    return tf.fill([sizes[keep_axis]], tf.reduce_prod(others))
