"""Telling that a stream is read by every worker as a whole, what that costs, and how to change it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from absl import logging

from ..elements import Nest
from ..sources.records import Records
from .shards import Worker, takes_shards


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
