"""The `tf.data` pipelines of a sharded stream: one worker's part of each global batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ..elements import Nest, has_examples
from ..feeds.pipelines import Stream, prefetched
from .shards import Shards, Worker


@dataclasses.dataclass(frozen=True)
class ShardedStream:
    """A stream cut into shards, and the worker that reads some of them.

    Of a batch of b examples, shard s of n has [b * s // n, b * (s + 1) // n). In training each shard is read pass after pass on
    its own, so that no batch is short. So the batches depend on the number of shards, not on that of the workers, and
    a worker's part holds exactly the shares of its replicas.

    Attributes:
      shards: the shards.
      stream: how to cut examples into batches; its `examples` are those of any shard.
      worker: reads its own shards.
    """

    shards: Shards
    stream: Stream
    worker: Worker

    @property
    def own(self) -> range:
        """The shards of this worker."""
        return self.shards.own(self.worker)

    @property
    def sizes(self) -> list[int]:
        """The examples that each shard of this worker has in a global batch."""
        batch, count = self.stream.batch_size, self.shards.count
        return [batch * (shard + 1) // count - batch * shard // count for shard in self.own]

    def of(self, shard: int) -> Stream:
        """Return a shard as a stream of its own."""
        return dataclasses.replace(self.stream, examples=self.shards.of(shard))

    def for_evaluation(self) -> tf.data.Dataset[Nest]:
        """Return batches of one pass over the shards of this worker, in their order."""
        examples = functools.reduce(tf.data.Dataset.concatenate, [self.shards.of(shard) for shard in self.own])
        return dataclasses.replace(self.stream, examples=examples, batch_size=sum(self.sizes)).for_evaluation()

    def for_training(self, places: np.ndarray) -> tf.data.Dataset[Nest]:
        """Return `(places, part)`: this worker's part of each batch, and where its shards are after it.

        Args:
          places: int64 [own shards, 2]: the pass of each shard, and how many of its examples were used.
        """
        return self._joined([self._shard(*each, may_dry_up=False) for each in zip(self.own, places, strict=True)])

    def replayed(self, first_batch: int) -> tf.data.Dataset[Nest]:
        """Return the same from a batch on, by reading the shards again from their start: passes may differ, or dry up."""
        start = np.zeros(2, np.int64)
        return self._joined(
            [
                self._shard(shard, start, may_dry_up=True).skip(size * first_batch)
                for shard, size in zip(self.own, self.sizes, strict=True)
            ]
        )

    def _shard(self, shard: int, place: np.ndarray, may_dry_up: bool) -> tf.data.Dataset[Nest]:
        """Return `((pass, used), example)` from a place on, where `used` counts the example itself."""
        stream, (first, used) = self.of(shard), place
        source = stream.in_order()
        most = tf.constant(tf.int64.max, tf.int64)

        @tf.autograph.experimental.do_not_convert  # which takes a second
        def one_pass(number: tf.Tensor) -> tf.data.Dataset[Nest]:
            begin = tf.where(number == first, tf.constant(used, tf.int64), tf.zeros([], tf.int64))
            examples = stream.shuffled(source, number * self.shards.count + shard).skip(begin)
            numbers = (tf.data.Dataset.from_tensors(number).repeat(), tf.data.Dataset.range(begin + 1, most))
            return tf.data.Dataset.zip((tf.data.Dataset.zip(numbers), examples))

        passes = tf.data.Dataset.counter(tf.constant(first, tf.int64))
        if may_dry_up:
            passes = passes.take_while(lambda _: has_examples(source))
        return passes.flat_map(one_pass)

    def _joined(self, shards: list[tf.data.Dataset[Nest]]) -> tf.data.Dataset[Nest]:
        """Return the batches of the shards' examples, with the place of each shard after its last one."""
        sizes = np.array(self.sizes)
        order = tf.data.Dataset.from_tensor_slices(np.repeat(np.arange(len(sizes)), sizes)).repeat()
        examples = tf.data.Dataset.choose_from_datasets(shards, order, stop_on_empty_dataset=True)
        if self.stream.map_fn is not None and not self.stream.skip:
            mapped = functools.partial(_mapped, self.stream.map_fn)
            examples = examples.map(mapped, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        lasts = np.cumsum(sizes) - 1

        @tf.autograph.experimental.do_not_convert
        def with_places(places: tuple[tf.Tensor, tf.Tensor], part: Nest) -> tuple[tf.Tensor, Nest]:
            lost = (tf.reduce_sum(part[0]), part[1]) if self.stream.skip else part
            return tf.stack([tf.gather(each, lasts) for each in places], axis=1), lost

        options = tf.data.Options()
        # Its thread may sleep for up to a minute while an iterator that is no longer needed waits for its end (TensorFlow 2.21).
        options.autotune.enabled = False
        batches = examples.batch(int(sizes.sum()), drop_remainder=True).map(with_places)
        return prefetched(batches).with_options(options)


def _mapped(map_fn: Callable[..., Any], place: Nest, example: Nest) -> tuple[Nest, Nest]:
    # As by `Dataset.map`: a tuple is several arguments, anything else is one.
    arguments: tuple[Any, ...] = example if isinstance(example, tuple) else (example,)
    return place, map_fn(*arguments)
