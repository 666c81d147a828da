"""What the bundled tasks share: the parts of a batch, and the weights of its examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ..metrics.errors import UsageError

_PLACES = ("x", "y", "sample_weight")  # of the parts of a tuple
FEATURES, TARGETS, _WEIGHTS = range(3)


def part_of(batch: Any, key: str, place: int, where: str, fix: str) -> Any:
    """Return `batch[key]` of a dict, `batch[place]` of a tuple.

    Args:
      batch: a dict; or a tuple `(x, y)` or `(x, y, sample_weight)`, as Keras takes it.
      key: what to look for in a dict.
      place: where it stands in a tuple.
      where: what the batch is, for the message.
      fix: what the user can do about it, for the message.

    Raises:
      UsageError: the batch is neither, or lacks the part.
    """
    if isinstance(batch, tuple):
        if place < len(batch):
            return batch[place]
        names = ", ".join(_PLACES[: place + 1])
        raise UsageError(
            f"{where}: expected a tuple ({names}) or a dict with the key {key!r}, got a tuple of {len(batch)}; {fix}"
        )
    if isinstance(batch, Mapping) and key in batch:
        return batch[key]
    found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
    raise UsageError(f"{where}: expected the key {key!r}, got {found}; {fix}")


def weighted(losses: tf.Tensor, batch: Any, key: str | None, training: bool, task: str) -> tf.Tensor:
    """Return losses times the weights of their examples.

    As in Keras, their mean is a sum divided by the number of examples, not by the sum of the weights.

    Args:
      losses: shape (batch,).
      batch: a dict or a tuple.
      key: the key of the weights in a dict, or None. A batch of an evaluation may lack it.
      training: whether the batch is one of training.
      task: the name of the task, for messages.

    Raises:
      UsageError: the weights are missing in training, or they aren't one number per example.
    """
    has_weights = len(batch) > _WEIGHTS if isinstance(batch, tuple) else isinstance(batch, Mapping) and key in batch
    if not has_weights and (key is None or not training):
        return losses
    key = key or _PLACES[_WEIGHTS]
    weights = part_of(batch, key, _WEIGHTS, "The batch", f"set {task}.sample_weight")
    if len(weights.shape) != 1:
        raise UsageError(
            f"{task}.sample_weight = {key!r}: expected one weight per example, of shape (n,), got shape {tuple(weights.shape)}"
        )
    return losses * tf.cast(weights, losses.dtype)
