"""A loss made of weighted parts, each shown."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from .errors import UsageError
from .recording import add, scope


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
    total = tf.add_n([losses * tf.cast(weights.get(part, 1.0), losses.dtype) for part, losses in parts.items()])
    with scope(name):
        for part, losses in parts.items():
            add(part, losses)
        add("total", total)
    return total
