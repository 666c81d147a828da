"""What each worker pays per example: of the global batch, and of its own part where it reads that only.

Own parts are those of one of 1,250 workers, in their size: a cost that grew with the global batch would show.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.feed import Feed
from tallyloop.data.feeds.order import Order
from tallyloop.data.rows.shares import Share, Shares

from ..harness.child import answer

BATCH, EXAMPLES, FEATURES = 64_000, 1_000_000, 64
LAPS, WARM_UP = 9, 2
MANY = 10**9  # examples, of which a global batch of so many workers is a small part
WORKER, WORKERS, OWN = 3, 1250, 512  # one of the workers of 10,000 replicas, and its examples per step
STEPS = 256  # per lap, of an own part


def lap(run: Callable[[int], tf.Tensor]) -> float:
    """Return the median seconds per step."""
    seconds = []
    for step in range(LAPS + WARM_UP):
        started = time.perf_counter()
        run(step).numpy()
        seconds.append(time.perf_counter() - started)
    return median(seconds[WARM_UP:])


def plan() -> float:
    """Return the seconds to draw the row numbers of a global batch."""
    feed = Input({"i": np.arange(EXAMPLES)}, BATCH, shuffle=True, drop_remainder=True).open_train()
    one = tf.constant(1, tf.int64)
    draw = tf.function(lambda step: feed.plan(step, one)[0][0, -1])
    return lap(lambda step: draw(tf.constant(step, tf.int64)))


def stream() -> float:
    """Return the seconds to read a global batch from a stream of examples in memory, without any decoding."""
    rows = tf.data.Dataset.from_tensor_slices(np.zeros([BATCH, FEATURES], np.float32))
    feed = Input(rows, BATCH, drop_remainder=True, shuffle=False).open_train()
    return lap(by_steps(feed, 0, 1000))


def by_steps(feed: Feed, index: int, count: int) -> Callable[[int], tf.Tensor]:
    """Return a function that reads a replica's share of a step."""
    one = tf.constant(1, tf.int64)

    @tf.function
    def read(step):
        part, n = feed.fetch(feed.plan(step, one), tf.constant(0, tf.int64))
        return feed.shard(part, n, index, count)[0][0, 0]

    return lambda step: read(tf.constant(step, tf.int64))


def own_numbers() -> float:
    """Return the seconds to draw a worker's own row numbers of a step, as rows by number do."""
    order = Order(MANY, OWN * WORKERS, shuffle=True, seed=0, drop_remainder=True, endless=True)
    return own_part(Shares(order).rows, Share(WORKER, WORKERS))


def own_part(draw: Callable[[int, Share], object], mine: Share) -> float:
    """Return the seconds per step of `draw(step, mine)`."""
    draw(0, mine)
    started = time.perf_counter()
    for step in range(STEPS, 2 * STEPS):
        draw(step, mine)
    return (time.perf_counter() - started) / STEPS


class _Rows:
    """Rows of floats in memory, read by number."""

    def __len__(self) -> int:
        return MANY

    def __getitems__(self, rows: np.ndarray) -> np.ndarray:
        return _VALUES[rows % len(_VALUES)]


_VALUES = np.zeros([10_000, FEATURES], np.float32)


def own_rows() -> float:
    """Return the seconds to draw, read and hand over a worker's own rows of a step, by number."""
    return _own(Input(_Rows(), OWN * WORKERS, drop_remainder=True))


def own_shard() -> float:
    """Return the seconds to read a worker's own examples of a step from its shard of a stream, without any decoding."""
    rows = tf.data.Dataset.from_tensor_slices(_VALUES)
    return _own(Input(lambda shard, shards: rows, OWN * WORKERS, shuffle=False, shards=WORKERS))


def _own(data: Input) -> float:
    read = by_steps(data.open_train(WORKER, WORKERS), WORKER, WORKERS)
    return own_part(lambda step, _: read(step).numpy(), Share(WORKER, WORKERS))


if __name__ == "__main__":
    answer(
        {
            "plan": plan() / BATCH,
            "stream": stream() / BATCH,
            "own numbers": own_numbers() / OWN,
            "own rows": own_rows() / OWN,
            "own shard": own_shard() / OWN,
        }
    )
