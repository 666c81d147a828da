"""What every worker pays for the examples of all the others: drawing row numbers, and reading a stream, an example."""

import os
import time
from collections.abc import Callable
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tallyloop.data import Input

from benchmarks.children.talking import answer

BATCH, EXAMPLES, FEATURES = 64_000, 1_000_000, 64
LAPS, WARM_UP = 9, 2


def lap(run: Callable[[int], tf.Tensor]) -> float:
    """Seconds of a step, the median."""
    seconds = []
    for step in range(LAPS + WARM_UP):
        started = time.perf_counter()
        run(step).numpy()
        seconds.append(time.perf_counter() - started)
    return median(seconds[WARM_UP:])


def plan() -> float:
    """Seconds to draw the row numbers of a global batch."""
    feed = Input({"i": np.arange(EXAMPLES)}, BATCH, shuffle=True, drop_remainder=True).open_train()
    one = tf.constant(1, tf.int64)
    draw = tf.function(lambda step: feed.plan(step, one)[0][0, -1])
    return lap(lambda step: draw(tf.constant(step, tf.int64)))


def stream() -> float:
    """Seconds to read a global batch of a stream of examples that are in memory already, without any decoding."""
    rows = tf.data.Dataset.from_tensor_slices(np.zeros([BATCH, FEATURES], np.float32))
    feed = Input(rows, BATCH, drop_remainder=True).open_train()
    one = tf.constant(1, tf.int64)

    @tf.function
    def read(step):
        part, n = feed.fetch(feed.plan(step, one), tf.constant(0, tf.int64))
        return feed.shard(part, n, 0, 1000)[0][0, 0]

    return lap(lambda step: read(tf.constant(step, tf.int64)))


if __name__ == "__main__":
    answer({"plan": plan() / BATCH, "stream": stream() / BATCH})
