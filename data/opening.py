"""Opening a source: the feed that cuts its arrays or its dataset into global batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from absl import logging

from ..metrics.errors import UsageError
from .bad_examples import check_some_good
from .checks import with_fix
from .contents import name_first_bad
from .elements import Nest, batch_spec, check_filled, refuse_endless, refuse_fewer
from .feeds.array_feed import ArrayFeed, SlicedFeed
from .feeds.feed import Feed, Share
from .feeds.iterators import can_be_saved
from .feeds.order import Order
from .feeds.pipelines import Stream
from .feeds.stream_feed import Batching, StreamFeed
from .messages.failures import FAILURES
from .rows.good_row_feed import GoodRowFeed
from .rows.loader import Loader
from .rows.row_feed import RowFeed
from .rows.rows import Rows
from .rows.transforms import Transform
from .streams.opening import open_shards
from .streams.sharded import ShardedStream
from .streams.shards import Shards, Worker

_ALONE = Worker()


@dataclasses.dataclass(frozen=True)
class BatchOptions:
    """The way to cut examples into global batches: the settings of `Input`, which documents them.

    Attributes:
      batch_size: `Input.global_batch_size`.
      shuffle: `Input.shuffle`.
      seed: `Input.seed`.
      drop_remainder: `Input.drop_remainder`.
      shuffle_buffer: `Input.shuffle_buffer`.
      skip: `Input.on_error = "skip"`.
    """

    batch_size: int
    shuffle: bool
    seed: int
    drop_remainder: bool
    shuffle_buffer: int
    skip: bool

    @property
    def full_batch(self) -> int | None:
        """The batch size if no batch is short, else None."""
        return self.batch_size if self.drop_remainder else None

    def for_evaluation(self) -> BatchOptions:
        """Return the options of an evaluation, which sees each example once, in order."""
        return dataclasses.replace(self, shuffle=False, drop_remainder=False)


def open_arrays(tensors: Nest, options: BatchOptions, *, train: bool) -> Feed:
    """Return a feed of arrays.

    Args:
      tensors: a nest of tensors of the same length.
      options: how to cut the rows into batches.
      train: epoch after epoch, else one pass.

    Raises:
      UsageError: there are too few rows for a batch.
    """
    num_examples = len(tf.nest.flatten(tensors)[0])
    refuse_fewer(num_examples, options.full_batch or 1)
    order = _order(num_examples, options, train)
    return (ArrayFeed if order.shuffle else SlicedFeed)(tensors, order)


def open_rows(
    rows: Rows,
    transform: Transform | None,
    map_fn: Callable[..., Any] | None,
    options: BatchOptions,
    *,
    train: bool,
    threads: int,
    processes: int = 0,
    worker: Worker = _ALONE,
) -> Feed:
    """Return a feed of rows that are read by number.

    Args:
      rows: the source.
      transform: applied to each example in Python, or None.
      map_fn: applied to each example in a graph, or None.
      options: how to cut the rows into batches.
      train: epoch after epoch, else one pass.
      threads: how many read.
      processes: how many read instead, if any.
      worker: who reads.

    Raises:
      UsageError: there are too few rows for a batch, a row cannot be read, the options conflict, or processes
        cannot load the source.
    """
    refuse_fewer(rows.length, options.full_batch or 1)
    if options.skip and options.full_batch:
        raise UsageError(
            'Input.on_error = "skip" makes batches of arrays and rows by number short, but Input.drop_remainder = True needs '
            "full ones: for arrays with a map_fn, bind Input.cache = True, which skips bad examples before the batches are cut; "
            "or remove one of the two."
        )
    order = _order(rows.length, options, train)
    loader = Loader(rows, order, transform, map_fn, skip=options.skip, processes=processes)
    if train and not loader.repeatable:
        logging.warning(
            "Input.map_fn draws random numbers or calls Python: a resumed run will not repeat them, and will differ from "
            "an uninterrupted one. Use tf.random.stateless_* in it, with a last parameter named `seed`."
        )
    if options.skip:
        return GoodRowFeed(rows, order, loader, threads)
    return RowFeed(rows, order, loader, threads, Share(worker.index, worker.count))


def rows_spec(
    rows: Rows, transform: Transform | None, map_fn: Callable[..., Any] | None, options: BatchOptions
) -> Nest:
    """Return a nest of `tf.TensorSpec`, the global batch of `open_rows` in training, without a feed.

    Raises:
      UsageError: the first row cannot be read.
    """
    order = _order(rows.length, options, train=True)
    loader = Loader(rows, order, transform, map_fn, skip=options.skip)
    return batch_spec(loader.element_spec, None if options.skip else order.full_batch)


def open_stream(
    examples: tf.data.Dataset[Nest],
    map_fn: Callable[..., Any] | None,
    options: BatchOptions,
    *,
    train: bool,
    reread: Callable[[], tf.data.Dataset[Nest]],
) -> Feed:
    """Return a feed of a dataset.

    Args:
      examples: a dataset of single examples.
      map_fn: applied to each example, or None.
      options: how to cut the examples into batches.
      train: pass after pass, else one pass.
      reread: returns a dataset of the same examples that was never read.

    Raises:
      UsageError: the dataset does not give a first batch, or an evaluation would never end.
    """
    stream = _stream(examples, map_fn, options)
    _check_start(stream)
    return _train_stream(stream, reread) if train else _eval_stream(stream)


def open_sharded(
    shards: Shards, map_fn: Callable[..., Any] | None, options: BatchOptions, worker: Worker, *, train: bool
) -> Feed:
    """Return a feed of a stream that is cut into shards.

    Args:
      shards: the shards.
      map_fn: applied to each example, or None.
      options: how to cut the examples into batches.
      worker: who reads.
      train: each shard pass after pass, else one pass over all.

    Raises:
      UsageError: the workers cannot share the shards, a shard does not give an example, or an evaluation would never end.
    """
    stream = _stream(shards.of(shards.own(worker)[0]), map_fn, options)
    if stream.shuffle_buffer is not None:
        stream = dataclasses.replace(stream, shuffle_buffer=-(-stream.shuffle_buffer // shards.count))
    return open_shards(ShardedStream(shards, stream, worker), train=train)


def _stream(examples: tf.data.Dataset[Nest], map_fn: Callable[..., Any] | None, options: BatchOptions) -> Stream:
    return Stream(
        examples=examples,
        map_fn=map_fn,
        batch_size=options.batch_size,
        drop_remainder=options.drop_remainder,
        shuffle_buffer=options.shuffle_buffer if options.shuffle else None,
        seed=options.seed,
        skip=options.skip,
    )


def _order(num_examples: int, options: BatchOptions, train: bool) -> Order:
    return Order(
        num_examples=num_examples,
        batch_size=options.batch_size,
        shuffle=options.shuffle,
        seed=options.seed,
        drop_remainder=options.drop_remainder,
        endless=train,
    )


def _check_start(stream: Stream) -> None:
    """Refuse a stream that does not give its first batch."""
    least = stream.full_batch or 1
    if stream.skip:
        check_some_good(stream.mapped(), least)
        return
    try:
        check_filled(stream.examples, least)
    except FAILURES as error:
        if (place := name_first_bad(stream.examples, None)) is None:
            raise
        raise UsageError(with_fix(place)) from error


def _train_stream(stream: Stream, reread: Callable[[], tf.data.Dataset[Nest]]) -> Feed:
    saved = can_be_saved(stream.mapped())
    if not saved:
        logging.warning(
            "The source of Input, or its map_fn, runs Python code, shuffles or draws random numbers, whose state no "
            "checkpoint can hold: a resumed run reads all batches up to its step again and discards them, which takes time, "
            "and is exact only if they are the same again. Let Input.shuffle do the shuffling."
        )

    def build(first_batch: int) -> tf.data.Dataset[Nest]:
        # A dataset that shuffles remembers how often it was read, so a replay needs a new one.
        unread = stream if saved else dataclasses.replace(stream, examples=reread())
        return unread.for_training(first_batch, may_dry_up=not saved)

    return _stream_feed(stream, build, endless=True, seeks=not saved)


def _eval_stream(stream: Stream) -> Feed:
    refuse_endless(stream.examples, "an evaluation sees each example once")
    return _stream_feed(stream, lambda _: stream.for_evaluation(), endless=False, seeks=False)


def _stream_feed(stream: Stream, build: Callable[[int], tf.data.Dataset[Nest]], *, endless: bool, seeks: bool) -> Feed:
    return StreamFeed(
        build,
        Batching(stream.full_batch),
        endless=endless,
        seeks=seeks,
        counts=stream.skip,
        find_bad=lambda _: name_first_bad(stream.examples, stream.map_fn),
    )
