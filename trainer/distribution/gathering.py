"""The rows of the global batch, in each replica: for losses that compare each example with all others."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from .reduction import added_up


def gather_rows(nest: Any) -> tuple[Any, tf.Tensor]:
    """Return the rows of all replicas in the order of the global batch, and where this replica's stand among them.

    Gradients flow back to the replica that a row comes from, from the losses of all replicas. Outside a step, the rows are those
    that are given. All replicas must call this alike; it takes one reduction per tensor.

    Args:
      nest: tensors of numbers, whose first axis is this replica's part of the batch.

    Returns:
      The nest with the rows of the global batch; and int64 (rows,), the positions of this replica's rows in it. A replica without
      examples, which runs on a borrowed one, adds nothing; its position is then that of any row.

    Raises:
      UsageError: the tensors aren't numbers, or the replicas do not run together: they are compiled one by one with XLA, or
        evaluate a sharded stream on several workers.
    """
    flat = [tf.convert_to_tensor(each) for each in tf.nest.flatten(nest)]
    for tensor in flat:
        if not (tensor.dtype.is_floating or tensor.dtype.is_integer) or tensor.shape.rank == 0:
            raise UsageError(
                f"gather_rows: expected tensors of numbers (batch, ...), got {tensor.dtype.name} of shape {tensor.shape}"
            )
    share = ReplicaShare.current()
    if share is None:
        return nest, tf.range(tf.shape(flat[0], tf.int64)[0])
    if not share.all_replicas:
        raise UsageError(
            "gather_rows: in the evaluation of a sharded stream, each worker has batches of its own: expected a source of arrays "
            "or of rows by number, whose batches all workers share"
        )
    gathered = tf.nest.pack_sequence_as(nest, [_gathered(tensor, share) for tensor in flat])
    positions = share.first + tf.range(tf.shape(flat[0], tf.int64)[0])
    return gathered, tf.minimum(positions, tf.maximum(share.examples, 1) - 1)


def _gathered(tensor: tf.Tensor, share: ReplicaShare) -> tf.Tensor:
    """Return the sum of all replicas' rows, each padded with zeros to the size of the global batch."""
    before, after = share.first, share.examples - share.first - share.rows
    others = tf.zeros([tensor.shape.rank - 1, 2], tf.int64)
    padded = tf.pad(tensor[: share.rows], tf.concat([[[before, after]], others], 0))
    padded = tf.ensure_shape(padded, [None, *tensor.shape[1:]])
    try:
        return added_up(padded)
    except RuntimeError as error:
        if "merge_call" not in str(error):
            raise
        raise UsageError(
            "gather_rows waits for the other replicas in the middle of a step: expected Trainer.jit_compile = False on several "
            "replicas, and a call outside of any tf.function, condition or loop of the task"
        ) from error
