"""Opening a sharded stream: what is refused, and what is warned about."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..bad_examples import check_some_good
from ..checks import takes_shards, with_fix
from ..contents import name_first_bad
from ..elements import Nest, refuse_endless, refuse_fewer
from ..feeds.feed import Feed
from ..feeds.iterators import can_be_saved
from ..messages.failures import FAILURES
from ..sources.records import Records
from .shard_feed import ShardFeed
from .sharded import ShardedStream
from .shards import Shards, Worker

_UNEVEN = 1.5


def open_shards(stream: ShardedStream, *, train: bool) -> Feed:
    """Return a feed of a worker's part of a sharded stream.

    Args:
      stream: the shards, and how they are cut into batches.
      train: each shard pass after pass, else one pass over all.

    Raises:
      UsageError: a shard of this worker is empty, or an evaluation would never end.
    """
    if not train:
        for shard in stream.own:
            refuse_endless(stream.shards.of(shard), "an evaluation sees each example once")
        return ShardFeed(stream, endless=False, replays=False, find_bad=lambda _: _first_bad(stream))
    for shard in stream.own:
        _check_start(stream, shard)
    replays = not can_be_saved(stream.stream.mapped())
    if replays:
        logging.warning(
            "The shards of Input.source, or Input.map_fn, run Python code, shuffle or draw random numbers: a resumed run reads "
            "them again from their start up to its step, which takes time, and is exact only if they are the same again. Let "
            "Input.shuffle do the shuffling."
        )
    return ShardFeed(stream, endless=True, replays=replays, find_bad=lambda _: _first_bad(stream))


def warn_read_whole(source: Any, found: tf.data.Dataset[Nest], batch_size: int, worker: Worker) -> None:
    """Warn that each of several workers reads a whole stream, and how it would read only its part."""
    if worker.index:  # one of them is enough
        return
    logging.warning(
        "Input.shards = 1: each of the %d workers reads the whole stream, %d examples for each one that it uses. %s",
        worker.count,
        worker.count,
        _fix(source, found, batch_size, worker.count),
    )


def warn_uneven(shards: Shards) -> None:
    """Warn of shards that are known to be of very different sizes: training sees the examples of small ones more often."""
    if shards.sizes and max(shards.sizes) > _UNEVEN * (least := min(shards.sizes)) > 0:
        logging.warning(
            "Input.shards = %d: shard %d (counted from 0) has %d bytes and the largest has %d: in training, every batch has as "
            "many examples of the one as of the other, so that those of the small one come %.1f times as often. Write files of "
            "about one size, or lower Input.shards.",
            shards.count,
            list(shards.sizes).index(least),
            least,
            max(shards.sizes),
            max(shards.sizes) / least,
        )


def _check_start(stream: ShardedStream, shard: int) -> None:
    """Refuse a shard without examples, or whose first one is bad: every batch has some of each shard."""
    one, where = stream.of(shard), f"shard {shard} (counted from 0) of Input.shards = {stream.shards.count}"
    try:
        if one.skip:
            check_some_good(one.mapped(), 1)
        else:
            refuse_fewer(1 if _has_content(one.examples) else len(list(one.examples.take(1))), 1)
    except UsageError as error:
        raise UsageError(f"{where}: {error}, or lower Input.shards") from error
    except FAILURES as error:
        if (place := name_first_bad(one.examples, None)) is None:
            raise
        raise UsageError(f"{where}: {with_fix(place)}") from error


def _has_content(examples: tf.data.Dataset[Nest]) -> bool:
    return isinstance(examples, Records) and examples.has_content()  # reading takes longer


def _first_bad(stream: ShardedStream) -> str | None:
    for shard in stream.own:
        if (place := name_first_bad(stream.shards.of(shard), stream.stream.map_fn)) is not None:
            return f"shard {shard} (counted from 0): {place}"
    return None


def _fix(source: Any, found: tf.data.Dataset[Nest], batch_size: int, workers: int) -> str:
    if takes_shards(source):
        return f"Bind Input.shards to a multiple of {workers}, and each will read only its shards."
    if isinstance(found, Records):
        most = min(len(found.files), batch_size) // workers * workers
        if not most:
            return f"Write the examples of tfrecord in at least {workers} files, and bind Input.shards = {workers}."
        return f"Bind Input.shards, such as Input.shards = {most}, and each will read only its files."
    return (
        "If it can be cut, make Input.source a function of (shard, shards) that returns the examples of one shard, and bind "
        "Input.shards; or read rows by number."
    )
