"""A loss made of weighted parts, each shown."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ..errors import UsageError
from .recorder import add, scope


def composite_loss(
    parts: Mapping[str, tf.Tensor], weights: Mapping[str, float] | None = None, name: str = "loss"
) -> tf.Tensor:
    """Returns the weighted sum of per-example losses, and records each part and the sum.

    Args:
      parts: name -> losses, one an example; all of the same shape.
      weights: name -> factor; 1 where it names none.
      name: the parts are recorded as `name/part`, as they are, and their weighted sum as `name/total`.

    Returns:
      sum(weights[part] * parts[part]), one an example.

    Raises:
      UsageError: a weight names no part, or there is no part.
    """
    weights = weights or {}
    unknown = sorted(set(weights) - set(parts))
    if unknown or not parts:
        raise UsageError(f"composite_loss: the weights {unknown} name no part; the parts are {sorted(parts)}.")
    # Parts may differ in precision; their sum has the highest, and float32 at least.
    dtype = tf.float64 if any(losses.dtype == tf.float64 for losses in parts.values()) else tf.float32
    total = tf.add_n([tf.cast(losses, dtype) * weights.get(part, 1.0) for part, losses in parts.items()])
    with scope(name):
        for part, losses in parts.items():
            add(part, losses)
        add("total", total)
    return total
