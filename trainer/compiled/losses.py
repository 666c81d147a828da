"""The losses of a compiled model before Keras divides them: what is summed, and by which count it is divided."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ...metrics.tally import Tally
from .arguments import OutputLoss, mask_of


def losses_of(entry: OutputLoss, y: Any, output: Any, weights: Any) -> tf.Tensor | Tally:
    """Return the losses of an output, so that their mean over a batch is what Keras computes on one device.

    Returns:
      One loss per example. Or, where Keras divides by the number of unmasked elements or by the sum of the weights, a Tally with
      that as its count.

    Raises:
      UsageError: the loss has no meaning on a part of a batch, or its weights and mask don't fit.
    """
    loss = entry.loss
    mask = mask_of(output)
    y, output = (keras.tree.map_structure(lambda x: tf.cast(x, loss.dtype), each) for each in (y, output))
    values = tf.convert_to_tensor(loss.call(y, output))
    own = mask_of(values)
    mask = mask if own is None else own if mask is None else mask & own
    if values.shape.rank == 0:
        return _of_batch(entry, values, keras.tree.flatten(output)[0], weights)
    return _reduced(entry, values, _like(entry, values, "sample_weight", weights), _like(entry, values, "mask", mask))


def check_rows_apart(entry: OutputLoss, y: Any, output: Any) -> None:
    """Check that a loss returns something for each row of a batch, from that row.

    Args:
      entry: the loss.
      y: its labels, of three rows or more.
      output: its predictions.

    Raises:
      UsageError: it does not, so that what replicas compute of their rows cannot be put together.
    """
    two, three = (_shape_of(entry, y, output, rows) for rows in (2, 3))
    if two.rank == 0:
        return
    if two[1:] != three[1:]:
        raise UsageError(
            f"from_keras: the loss {entry.loss.name!r} returns a matrix that grows with the batch in two axes, {tuple(two)} for "
            "2 rows: it compares each example with every other one. Expected one loss per example. Keras passes y_true and "
            "y_pred of one rank: y_true gets a last axis of size 1 where y_pred has it, so that y_pred[:, 0] is one axis short."
        )
    if two[0] != 2:
        raise UsageError(
            f"from_keras: the loss {entry.loss.name!r} returns the shape {tuple(two)} for 2 rows: expected one loss per "
            "example, whose first axis is the batch: don't flatten it."
        )


def _shape_of(entry: OutputLoss, y: Any, output: Any, rows: int) -> tf.TensorShape:
    cut = [keras.tree.map_structure(lambda x: x[:rows], each) for each in (y, output)]
    return tf.convert_to_tensor(entry.loss.call(*cut)).shape


def _reduced(entry: OutputLoss, values: tf.Tensor, weights: tf.Tensor | None, mask: tf.Tensor | None) -> Any:
    weighted = values if weights is None else values * weights
    if mask is not None:
        mask = tf.cast(mask, tf.bool)
        weighted = tf.where(mask, weighted, tf.zeros_like(weighted))
    reduction = entry.loss.reduction
    if reduction == "sum":
        # The mean over the examples of all replicas is their sum.
        return _per_example(weighted, tf.reduce_sum) * _examples(weighted)
    if reduction == "mean_with_sample_weight" and (weights is not None or mask is not None):
        counts = tf.ones_like(values) if weights is None else weights
        counts = counts if mask is None else tf.where(mask, counts, tf.zeros_like(counts))
        return Tally(tf.reduce_sum(weighted), tf.reduce_sum(counts))
    if reduction in ("sum_over_batch_size", "mean") and mask is not None:
        return Tally(tf.reduce_sum(weighted), tf.reduce_sum(tf.cast(mask, weighted.dtype)))
    if reduction in (None, "none"):
        raise UsageError(
            f"from_keras: the loss {entry.loss.name!r} has reduction=None, and of its {values.shape.rank}-dimensional result fit "
            "takes the gradient of the sum: expected reduction='sum' if that is meant, else 'sum_over_batch_size'."
        )
    return _per_example(weighted, tf.reduce_mean)


def _of_batch(entry: OutputLoss, value: tf.Tensor, output: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    """Return the losses of a function that returns one number for its batch; it is taken for their mean, on one replica."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise UsageError(
            f"from_keras: the loss {entry.loss.name!r} returns one number for a whole batch, and what replicas compute of their "
            "parts of it cannot be put together: expected one loss per example. Leave out its last mean (keras.ops.mean(..., "
            "axis=-1) keeps the examples), or train on one replica."
        )
    rows = tf.fill(tf.shape(output)[:1], value)
    return rows if weights is None else rows * _like(entry, rows, "sample_weight", weights)


def _like(entry: OutputLoss, values: tf.Tensor, name: str, given: Any) -> tf.Tensor | None:
    """Return weights or a mask in the shape of the losses; like Keras, take one last axis of size 1 more or less."""
    if given is None:
        return None
    given = tf.convert_to_tensor(given)
    given = given if given.dtype == tf.bool else tf.cast(given, values.dtype)
    if given.shape.rank == values.shape.rank + 1 and given.shape[-1] == 1:
        given = tf.squeeze(given, -1)
    if given.shape.rank == values.shape.rank - 1 and values.shape[-1] == 1:
        given = given[..., tf.newaxis]
    if given.shape.rank != values.shape.rank or not _broadcasts(given.shape[1:], values.shape[1:]):
        raise UsageError(
            f"from_keras: the {name} of shape {_shape(given)} does not fit the loss {entry.loss.name!r}, whose values have the "
            f"shape {_shape(values)}: expected that shape."
        )
    return tf.broadcast_to(given, tf.shape(values))


def _broadcasts(shape: tf.TensorShape, target: tf.TensorShape) -> bool:
    return all(size in (1, wanted, None) or wanted is None for size, wanted in zip(shape, target, strict=True))


def _per_example(values: tf.Tensor, reduce: Any) -> tf.Tensor:
    return values if values.shape.rank == 1 else reduce(values, axis=list(range(1, values.shape.rank)))


def _examples(like: tf.Tensor) -> tf.Tensor:
    """Return the number of examples in the global batch; outside a step, in this one."""
    share = ReplicaShare.current()
    return tf.cast(tf.shape(like)[0] if share is None else share.examples, like.dtype)


def _shape(tensor: tf.Tensor) -> str:
    return f"({', '.join(str(size) for size in ('batch', *tensor.shape[1:]))})"
