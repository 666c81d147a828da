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
    weights = align_weights(summable(weights), values)
    dtype = values.dtype if values.dtype.is_floating or weights.dtype.is_integer else weights.dtype
    kept = tf.where(weights != 0, values, tf.zeros_like(values))
    return Tally(_sum(tf.cast(kept, dtype) * tf.cast(weights, dtype), axes), _sum(weights, axes))


def align_weights(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Broadcasts `weights` to the shape of `values` from the left: (b,) against (b, t) weighs whole rows.

    Raises:
      UsageError: the shapes do not fit.
    """
    extra = weights.shape.rank - values.shape.rank
    if extra > 0 and all(size == 1 for size in weights.shape[-extra:]):
        weights = tf.reshape(weights, tf.shape(weights)[:-extra])
    for _ in range(values.shape.rank - weights.shape.rank):
        weights = weights[..., tf.newaxis]
    if weights.shape.rank != values.shape.rank or any(
        None not in (w, v) and w not in (1, v) for w, v in zip(weights.shape, values.shape, strict=True)
    ):
        raise UsageError(
            f"The weights' shape {tuple(weights.shape)} does not fit the values' shape {tuple(values.shape)}: wanted "
            "one weight for each leading index, such as (batch,) or (batch, time)."
        )
    return tf.broadcast_to(weights, tf.shape(values))


def summable(values: tf.Tensor) -> tf.Tensor:
    """Bool and integers as int64, 16-bit floats as float32: dtypes whose sums stay exact."""
    values = tf.convert_to_tensor(values)
    if values.dtype.is_bool or values.dtype.is_integer:
        return tf.cast(values, tf.int64)
    if values.dtype in (tf.float32, tf.float64):
        return values
    if values.dtype.is_floating:
        return tf.cast(values, tf.float32)
    raise UsageError(f"A metric must be numeric or bool, got dtype {values.dtype.name}.")


def _sum(values: tf.Tensor, axes: list[int] | None) -> tf.Tensor:
    return tf.reduce_sum(values, axis=axes)


def _size(values: tf.Tensor, keep_axis: int | None) -> tf.Tensor:
    """How many elements each sum has; a tensor of the replica, as a constant cannot be reduced."""
    if keep_axis is None:
        return tf.size(values, out_type=tf.int64)
    sizes = tf.shape(values, out_type=tf.int64)
    others = tf.concat([sizes[: keep_axis % values.shape.rank], sizes[keep_axis % values.shape.rank + 1 :]], 0)
    return tf.fill([sizes[keep_axis]], tf.reduce_prod(others))
