"""What the bundled tasks share: the parts of a batch, and the weights of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ..metrics.errors import UsageError


def part_of(batch: Any, key: str, where: str, fix: str) -> Any:
    """Return `batch[key]`.

    Args:
      batch: a dict.
      key: what to look for.
      where: what the batch is, for the message.
      fix: what the user can do about it, for the message.

    Raises:
      UsageError: the batch isn't a dict, or lacks the key.
    """
    if isinstance(batch, Mapping) and key in batch:
        return batch[key]
    found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
    raise UsageError(f"{where}: expected the key {key!r}, got {found}; {fix}")


def weighted(losses: tf.Tensor, batch: Any, key: str | None, training: bool, task: str) -> tf.Tensor:
    """Return losses times the weights of their examples.

    As in Keras, their mean is a sum divided by the number of examples, not by the sum of the weights.

    Args:
      losses: shape (batch,).
      batch: a dict.
      key: the key of the weights, or None. A batch of an evaluation may lack it.
      training: whether the batch is one of training.
      task: the name of the task, for messages.

    Raises:
      UsageError: the weights are missing in training, or they aren't one number per example.
    """
    if key is None or not (training or (isinstance(batch, Mapping) and key in batch)):
        return losses
    weights = part_of(batch, key, "The batch", f"set {task}.sample_weight")
    if len(weights.shape) != 1:
        raise UsageError(
            f"{task}.sample_weight = {key!r}: expected one weight per example, of shape (n,), got shape {tuple(weights.shape)}"
        )
    return losses * tf.cast(weights, losses.dtype)
