"""Running a function on every replica, each with its shard of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gin
import tensorflow as tf

from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ..user_code import on_replica


class OnlyShard:
    """In place of a feed: a batch that has been cut for the only replica already."""

    def shard(self, part: Any, n: tf.Tensor, index: tf.Tensor, count: int) -> tuple[Any, tf.Tensor]:
        """Do what `Feed.shard` does."""
        assert count == 1
        return part, n

    def first(self, n: tf.Tensor, index: tf.Tensor, count: int) -> tf.Tensor:
        """Do what `Feed.first` does."""
        return tf.zeros_like(n)


def run_on_shards(
    strategy: tf.distribute.Strategy,
    feed: Feed | OnlyShard,
    part: Any,
    examples: tf.Tensor,
    work: Callable[[Any, ReplicaShare], Any],
    all_replicas: bool = True,
) -> Any:
    """Run `work(batch, share)` on each replica; call it in the cross-replica context.

    Args:
      strategy: the replicas.
      feed: cuts the batch into shards.
      part: the global batch, as `feed.fetch` returned it.
      examples: int64 scalar, the size of the global batch.
      work: gets the replica's examples, and which ones they are.
      all_replicas: see `ReplicaShare`.

    Returns:
      The per-replica results, as `strategy.run` returns them.
    """

    def on_shard(part: Any, examples: tf.Tensor) -> Any:
        context = tf.distribute.get_replica_context()
        index, count = tf.cast(context.replica_id_in_sync_group, tf.int64), context.num_replicas_in_sync
        batch, rows = feed.shard(part, examples, index, count)
        with on_replica(context):
            return work(batch, ReplicaShare(index, feed.first(examples, index, count), rows, examples, all_replicas))

    return strategy.run(_in_current_gin_scope(on_shard), args=(part, examples))


def _in_current_gin_scope(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, to run in the gin scope that is open now, whichever thread calls it.

    A gin scope belongs to a thread, and `MirroredStrategy` traces each replica in a thread of its own.
    """
    scope = gin.current_scope()

    def call(*args):
        with gin.config_scope(scope or None):
            return function(*args)

    return call
