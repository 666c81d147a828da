"""The tally: a metric as a pair of sums."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from .errors import UsageError

# A float32 sum of this many elements of one sign is good to 1e-6, in any kernel and in XLA.
PLAIN_ELEMENTS = 2**10
# Larger ones are summed in float32 over blocks of this size, and in float64 over the blocks: as fast as float32.
_BLOCK = 2**5


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
      values: any shape; bool and integers are summed exactly up to 2^53, floats to a relative error of 1e-6 if they are of
        one sign, whatever their number.
      weights: None (each element counts 1), or a shape that is a prefix of the shape of `values`: one weight per example,
        or one per token. Elements of weight 0 are selected away before anything is multiplied, so that a NaN under a mask
        does not reach the sum.
      keep_axis: sum over all axes but this one; -1 for one number per class.

    Returns:
      Tally of sum(w * x) and sum(w), each of shape () or of the size of `keep_axis`.

    Raises:
      UsageError: the values or weights are not numeric, or their shapes do not fit.
    """
    values = tf.convert_to_tensor(values)
    if weights is None:
        return Tally(_sum(summable(values), keep_axis), _elements_per_sum(values, keep_axis))
    weights = align_weights(tf.convert_to_tensor(weights), values)
    return Tally(_sum(_weighted(values, weights), keep_axis), _sum(summable(weights), keep_axis))


def weighted(losses: tf.Tensor, weights: tf.Tensor) -> Tally:
    """Return losses and weights as the `Tally` whose mean is sum(w * loss) / sum(w), for a task to return from `loss`.

    A plain `losses * weights` is a different objective: its sum is divided by the number of examples, as in Keras.

    Args:
      losses: one per example, (batch,), or per token, (batch, time).
      weights: one per example or per token, such as a mask. A loss of weight 0 does not count in the sums, even if it is NaN;
        its gradient may still be NaN, so that bad values are best replaced before the loss.

    Returns:
      Tally of two scalars.

    Raises:
      UsageError: the shapes do not fit, or the dtypes are not numeric.
    """
    return tally(losses, weights)


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
    return Tally(larger(*values) if combine == "max" else tf.add(*values), count)


def larger(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the larger of each two, NaN if one of them is; `tf.maximum` leaves a NaN out in XLA."""
    return tf.where(tf.math.is_nan(a) | (a > b), a, b) if a.dtype.is_floating else tf.maximum(a, b)


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
    _check_rank(values)
    _check_rank(weights)
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
    """Return the dtype that values are converted to before they are summed.

    It is int64 for bool and integers of up to 32 bits, whose sums cannot wrap around; float64 for 64-bit integers, whose
    sums can; float32 for 16-bit floats.

    Raises:
      UsageError: the values are not numbers.
    """
    if dtype.is_bool or dtype.is_integer:
        return tf.float64 if dtype.size == 8 else tf.int64
    if dtype.is_floating:
        return tf.float64 if dtype == tf.float64 else tf.float32
    raise UsageError(f"A metric's values: expected numbers or bools, got dtype {dtype.name}.")


def _common_dtype(a: tf.Tensor, b: tf.Tensor) -> tf.DType:
    return a.dtype if a.dtype == b.dtype else tf.float64


def _weighted(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the product, ready to be summed; 0 where the weight is 0, whatever the value is."""
    dtype = _product_dtype(values.dtype, weights.dtype)
    values, weights = tf.cast(values, dtype), tf.cast(weights, dtype)
    return values * weights if dtype.is_integer else tf.math.multiply_no_nan(values, weights)


def _product_dtype(values: tf.DType, weights: tf.DType) -> tf.DType:
    """Return the dtype in which products neither wrap around nor lose the digits of integers."""
    of_values, of_weights = summed_dtype(values), summed_dtype(weights)
    if values.is_bool:
        return of_weights
    return of_values if values.is_floating or weights.is_bool else tf.float64


def _sum(values: tf.Tensor, keep_axis: int | None) -> tf.Tensor:
    """Return the sum over all axes but `keep_axis`; in float64 where float32 would not be accurate."""
    axes = _other_axes(values, keep_axis)
    if values.dtype != tf.float32 or _is_plain(values.shape, keep_axis):
        return tf.reduce_sum(values, axes)
    columns = [] if keep_axis is None else [values.shape[-1]]
    if keep_axis not in (None, -1) or None in columns or _known_elements(values.shape) <= PLAIN_ELEMENTS:
        return tf.reduce_sum(tf.cast(values, tf.float64), axes)
    return _sum_in_blocks(tf.reshape(values, [-1, *columns]))


def _is_plain(shape: tf.TensorShape, keep_axis: int | None) -> bool:
    """True if one float32 kernel sums accurately. Along outer axes, it adds one element after the other."""
    if not shape.is_fully_defined() or keep_axis not in (None, 0):
        return False
    return _known_elements(shape if keep_axis is None else shape[1:]) <= PLAIN_ELEMENTS


def _known_elements(shape: tf.TensorShape) -> int:
    """Return the number of elements, with 1 for each axis that is not known when the step is traced."""
    return math.prod(size or 1 for size in shape) if shape.rank is not None else 1


def _sum_in_blocks(rows: tf.Tensor) -> tf.Tensor:
    """Return the sum of float32 rows, (n,) or (n, columns), in float64."""
    count, columns = tf.shape(rows, out_type=tf.int64)[0], tf.shape(rows, out_type=tf.int64)[1:]
    blocks = count // _BLOCK
    whole = tf.reshape(rows[: blocks * _BLOCK], tf.concat([[blocks, _BLOCK], columns], 0))
    sums = tf.reduce_sum(tf.cast(tf.reduce_sum(whole, 1), tf.float64), 0)
    known = rows.shape[0]
    if known is not None and known % _BLOCK == 0:
        return sums
    return sums + tf.reduce_sum(tf.cast(rows[blocks * _BLOCK :], tf.float64), 0)


def _other_axes(values: tf.Tensor, keep_axis: int | None) -> list[int] | None:
    """Return the axes to sum over; None for all."""
    if keep_axis is None:
        return None
    _check_rank(values.shape)
    return [axis for axis in range(values.shape.rank) if axis != keep_axis % values.shape.rank]


def _elements_per_sum(values: tf.Tensor, keep_axis: int | None) -> tf.Tensor:
    """Return how many elements go into each sum; a tensor of the replica, as a constant cannot be reduced."""
    if keep_axis is None:
        return tf.size(values, out_type=tf.int64)
    sizes = tf.shape(values, out_type=tf.int64)
    others = tf.concat([sizes[: keep_axis % values.shape.rank], sizes[keep_axis % values.shape.rank + 1 :]], 0)
    return tf.fill([sizes[keep_axis]], tf.reduce_prod(others))


def _check_rank(shape: tf.TensorShape) -> None:
    if shape.rank is None:
        raise UsageError(
            "the number of axes of the values or weights is not known when the step is traced: expected a known one. Give it "
            "with tf.ensure_shape(x, [None, ...]), or flatten them with tf.reshape(x, [-1])."
        )
