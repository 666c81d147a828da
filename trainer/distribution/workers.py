"""The workers of a strategy: which of them this process is, and what they exchange."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..errors import ClusterError


def is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    """Return whether the replicas are spread over several processes, of which this is one."""
    return count(strategy) > 1


def count(strategy: tf.distribute.Strategy) -> int:
    """Return the number of processes."""
    cluster = _cluster(strategy)
    return sum(cluster.num_tasks(job) for job in cluster.jobs) if cluster else 1


def index(strategy: tf.distribute.Strategy) -> int:
    """Return the index of this process; the chief's is 0."""
    cluster = _cluster(strategy)
    if not cluster:
        return 0
    resolver = strategy.cluster_resolver
    return resolver.task_id + (
        cluster.num_tasks("chief") if "chief" in cluster.jobs and resolver.task_type != "chief" else 0
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes."""
    return index(strategy) == 0


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Return once all workers have called this."""
    if is_multi_worker(strategy):
        _sum(strategy, np.zeros(1, np.int64))


def finish_together(strategy: tf.distribute.Strategy) -> None:
    """Return once all workers have called this, as the last thing that they do together: an early exit takes the others down.

    The first one to return may exit before the last answer has reached the others. They have what they need then, and whether
    that worker failed is told by its own exit code.
    """
    try:
        wait_for_all(strategy)
    except tf.errors.OpError as error:
        if lost_worker(error) is None:
            raise
        logging.info("Another worker has ended first: %s", error.message)


def any_of(strategy: tf.distribute.Strategy, *mine: bool) -> list[bool]:
    """For each flag, return whether any worker set it; each must call this with its own flags."""
    return [bool(yes) for yes in _sum(strategy, np.array(mine, np.int64))] if is_multi_worker(strategy) else list(mine)


def total(strategy: tf.distribute.Strategy, mine: np.ndarray) -> np.ndarray:
    """Return the sum of an int64 array over the workers; each must call this with its own, of the same shape."""
    return _sum(strategy, mine) if is_multi_worker(strategy) else mine


def index_and_count(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the index of this process, and the number of processes."""
    return index(strategy), count(strategy)


def exchange(strategy: tf.distribute.Strategy, text: str) -> list[str]:
    """Return the text of each worker, in their order; each must call this with its own."""
    return [found.decode() for found in exchange_bytes(strategy, text.encode())]


def exchange_bytes(strategy: tf.distribute.Strategy, mine: bytes) -> list[bytes]:
    """Return the bytes of each worker, in their order; each must call this with its own."""
    if not is_multi_worker(strategy):
        return [mine]
    lengths = _rows(strategy, np.array([len(mine)]))[:, 0]
    width = max(-(-int(lengths.max()) // 4), 1)  # TensorFlow 2.21 crashes when it reduces an empty tensor
    rows = _rows(strategy, np.frombuffer(mine.ljust(4 * width, b"\0"), np.uint32))
    return [row.astype(np.uint32).tobytes()[:length] for row, length in zip(rows, lengths, strict=True)]


def from_chief(strategy: tf.distribute.Strategy, text: str | None) -> str:
    """Return the chief's text to every worker; the others pass None."""
    return exchange(strategy, text or "")[0]


def check_same(strategy: tf.distribute.Strategy, where: str, batch: Any) -> None:
    """Check that the stream begins with the same batch on all workers; each must call this.

    Raises:
      UsageError: it does not. A worker takes its replicas' share of each batch, so the rest of what only it reads would be
        lost.
    """
    if not is_multi_worker(strategy):
        return
    digest = hashlib.sha256()
    for array in map(np.asarray, tf.nest.flatten(batch)):
        digest.update(repr((array.dtype, array.shape)).encode())
        digest.update(repr(array.tolist()).encode() if array.dtype == object else np.ascontiguousarray(array).tobytes())
    mine = digest.hexdigest()
    others = [i for i, found in enumerate(exchange(strategy, mine)) if found != mine]
    if others:
        raise UsageError(
            f"{where}: worker {index(strategy)} reads a different first batch than worker {others[0]}. Each worker must read "
            "the whole stream, in the same order, and takes its share: don't let the source choose files by worker, which is "
            "what Input.shards is for, and seed whatever is random."
        )


def check_same_source(strategy: tf.distribute.Strategy, where: str, described: str) -> None:
    """Check that all workers have the same rows, or the same shards of a stream; each must call this with its own description.

    Raises:
      UsageError: they did not.
    """
    others = [i for i, found in enumerate(exchange(strategy, described)) if found != described]
    if others:
        raise UsageError(
            f"{where}: worker {index(strategy)} finds other data than worker {others[0]}: expected the same rows, or files of "
            "the same names and sizes, on all workers, each of which reads its own of them"
        )


def _cluster(strategy: tf.distribute.Strategy) -> tf.train.ClusterSpec | None:
    resolver = strategy.cluster_resolver
    return resolver.cluster_spec() if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) else None


def _rows(strategy: tf.distribute.Strategy, mine: np.ndarray) -> np.ndarray:
    """Return the values of all workers, one per row: each fills its own row, and the rows are added up."""
    rows = np.zeros([count(strategy), *mine.shape], np.int64)
    rows[index(strategy)] = mine
    return _sum(strategy, rows)


def _sum(strategy: tf.distribute.Strategy, value: np.ndarray) -> np.ndarray:
    """Return the sum over workers, each of which has several replicas with the same value."""
    replicas = strategy.num_replicas_in_sync // count(strategy)
    total = _summing(strategy)(tf.constant(value.ravel(), tf.int64)).numpy()
    return total.reshape(value.shape) // replicas


@functools.cache
def _summing(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    def summed(mine: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(mine,)), axis=None)

    return tf.function(summed, autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)])


# How TensorFlow 2.21 reports it: a collective is aborted because a connection broke (within two seconds of a worker's
# end) or heartbeats stopped (after ten seconds).
_KINDS = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
_ABOUT_WORKERS = re.compile(r"Collective ops is aborted|stopped sending heartbeats|coordination service|/job:", re.I)
_TASK = re.compile(r"/job:(\w+)/(?:replica:0/)?task:(\d+)")


def lost_worker(error: BaseException) -> ClusterError | None:
    """Return the error to report if `error` is TensorFlow's way of saying that another worker is gone, else None."""
    text = str(error)
    if not isinstance(error, _KINDS) or not _ABOUT_WORKERS.search(text):
        return None
    # The innermost reason comes first; errors passed on by further workers follow it.
    task = _TASK.search(text.partition("aborted by:")[2] or text)
    who = f" ({task[1]} {task[2]})" if task else ""
    return ClusterError(
        f"another worker has failed or is gone{who}: see its messages. Restarting all workers continues from the last "
        "checkpoint."
    )
