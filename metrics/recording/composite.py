"""A loss made of weighted parts, each recorded as a metric."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ..errors import UsageError
from .add import add, scope


def composite_loss(
    parts: Mapping[str, tf.Tensor], weights: Mapping[str, float] | None = None, name: str = "loss"
) -> tf.Tensor:
    """Return the weighted sum of per-example losses, and record each part and the sum.

    Args:
      parts: name -> losses, one per example, all of the same shape. Parts may differ in precision; the sum has the highest
        of them, and at least float32.
      weights: name -> factor; parts that it does not name have factor 1.
      name: the parts are recorded, unweighted, as `name/part`, and their weighted sum as `name/total`.

    Returns:
      sum(weights[part] * parts[part]), one per example.

    Raises:
      UsageError: a weight names no part, or there are no parts.
    """
    weights = weights or {}
    unknown = sorted(set(weights) - set(parts))
    if not parts:
        raise UsageError("composite_loss: expected at least one part, got none.")
    if unknown:
        raise UsageError(f"composite_loss: expected weights of the parts {sorted(parts)}, got weights of {unknown}.")
    dtype = tf.float64 if any(losses.dtype == tf.float64 for losses in parts.values()) else tf.float32
    total = tf.add_n([tf.cast(losses, dtype) * weights.get(part, 1.0) for part, losses in parts.items()])
    with scope(name):
        for part, losses in parts.items():
            add(part, losses)
        add("total", total)
    return total
