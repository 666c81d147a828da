"""The feed of a sharded stream: a worker reads its own shards, and the places of all of them are saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ..elements import Nest
from ..feeds.feed import Share
from ..feeds.iterators import restart_iterator
from ..feeds.stream_feed import Batching, StreamFeed
from ..same_data import SameData
from .sharded import ShardedStream


class ShardFeed(StreamFeed):
    """This worker's part of each global batch of a sharded stream.

    In training, each batch is full. In an evaluation, each worker reads its shards once in batches of its own, of which `fetch`
    says the size times the number of workers: so the shares of its replicas are all of them. It ends on its own, too.

    Args:
      stream: the shards, and how they are cut into batches.
      endless: a training stream; else one pass.
      replays: what was read is not repeated by itself: a resumed run reads everything up to its step again.
      find_bad: step -> the place and reason of the first bad example from there on.
    """

    local = True

    def __init__(self, stream: ShardedStream, *, endless: bool, replays: bool, find_bad: Callable[[int], str | None]):
        self._stream = stream
        self.mine: Share = Share(stream.worker.index, stream.worker.count)
        self._replays = replays
        own, count = stream.own, stream.shards.count
        self._own = tf.Variable(tf.zeros([len(own), 2], tf.int64), trainable=False, name="own_places")
        self._places = tf.Variable(
            tf.zeros([count, 2], tf.int64), trainable=False, shape=tf.TensorShape([None, 2]), name="places"
        )
        noted = {
            "shards": count,
            "seed": stream.stream.seed,
            "global_batch_size": stream.stream.batch_size,
            "shuffle_buffer": stream.stream.shuffle_buffer,
            "fingerprint": stream.shards.fingerprint,
        }
        self._same = SameData("shards", noted)
        full_batch = stream.stream.batch_size if endless else None
        super().__init__(
            self._from if endless else lambda _: stream.for_evaluation(),
            Batching(full_batch),
            endless=endless,
            seeks=True,
            counts=stream.stream.skip,
            find_bad=find_bad,
        )
        part = self._spec[1] if endless else self._spec
        self.element_spec: Nest = tf.nest.map_structure(
            lambda spec: tf.TensorSpec([full_batch, *spec.shape[1:]], spec.dtype), self._batch(part)
        )

    @property
    def described(self) -> str:
        """The content that must be the same on all workers, and on a rerun."""
        return self._same.text

    def fetch(self, plan: tuple[()], i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return (this worker's part of the next global batch, the number of examples in all parts)."""
        with tf.device("CPU:0"):
            if not self._endless:
                part, n = self._fetch_or_end()
                return part, n * self._stream.worker.count
            places, part = self._iterator.get_next()
            self._own.assign(places)
            return part, tf.constant(self._stream.stream.batch_size, tf.int64)

    def seek(self, step: int) -> None:
        """Continue each shard of this worker at its restored place.

        Raises:
          UsageError: the checkpoint is of other shards, or of other batches.
        """
        self._same.check("files, shards, seed, shuffle and batch size")
        own = self._stream.own
        self._own.assign(self._places[own.start : own.stop])
        restart_iterator(self._iterator, self._from(step))

    def before_save(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Gather the places of all shards, each from the worker that reads it."""
        own, places = self._stream.own, np.zeros([self._stream.shards.count, 2], np.int64)
        places[own.start : own.stop] = self._own.numpy()
        self._places.assign(total(places))

    def checkpoint_items(self) -> dict[str, Any]:
        """Return the place of each shard, and what must be the same on a rerun."""
        return {"places": self._places, "shards": self._same.variable} if self._endless else {}

    def _from(self, step: int) -> tf.data.Dataset[Nest]:
        return self._stream.replayed(step) if self._replays else self._stream.for_training(self._own.numpy())
