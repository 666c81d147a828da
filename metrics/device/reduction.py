"""The one reduction of tallies over replicas."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .packing import DTYPE, Layout


def reduce_packed(strategy: tf.distribute.Strategy, layout: Layout, per_replica: Any) -> tf.Tensor:
    """Add up the packed tallies of all replicas with one `ReduceOp.SUM`.

    A sum cannot carry a maximum. Each replica therefore writes its maxima into a slot of its own, with 0 in the slots of
    the others, and the largest of the slots is taken after the sum.

    Call it in the cross-replica context, eagerly or in a `tf.function`.

    Args:
      strategy: the replicas.
      layout: of the vectors.
      per_replica: each replica's vector, float64 of shape (layout.size,).

    Returns:
      The vector of the examples of all replicas, float64 of shape (layout.size,).
    """
    if not layout.maxima:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)
    cut = layout.size - layout.maxima
    with_slots = strategy.run(_with_slots, args=(per_replica, cut))
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, with_slots, axis=None)
    slots = tf.reshape(total[cut:], [strategy.num_replicas_in_sync, -1])
    return tf.concat([total[:cut], tf.reduce_max(slots, 0)], 0)


def _with_slots(vector: tf.Tensor, cut: int) -> tf.Tensor:
    """In a replica: return its sums, then one slot per replica for the maxima."""
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    mine = tf.range(context.num_replicas_in_sync)[:, tf.newaxis] == replica
    slots = tf.where(mine, vector[tf.newaxis, cut:], tf.zeros([], DTYPE))
    return tf.concat([vector[:cut], tf.reshape(slots, [-1])], 0)
