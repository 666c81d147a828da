"""What each worker pays per example of the global batch: drawing its row number, and reading it from a stream."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tallyloop.data import Input

from ..harness.child import answer

BATCH, EXAMPLES, FEATURES = 64_000, 1_000_000, 64
LAPS, WARM_UP = 9, 2


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
    one = tf.constant(1, tf.int64)

    @tf.function
    def read(step):
        part, n = feed.fetch(feed.plan(step, one), tf.constant(0, tf.int64))
        return feed.shard(part, n, 0, 1000)[0][0, 0]

    return lap(lambda step: read(tf.constant(step, tf.int64)))


if __name__ == "__main__":
    answer({"plan": plan() / BATCH, "stream": stream() / BATCH})
