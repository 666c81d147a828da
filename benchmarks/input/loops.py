"""Reading in graph loops that do nothing else, from a `Feed` or an iterator of tf.data, and jumping to a step."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tallyloop.data import Input

from ..harness.paired import Contestant

LOOP = 100  # steps
# Batches that tf.data prepares in advance. With AUTOTUNE it soon holds hundreds of them, nearly half a lap, and prepares them
# while the others are being timed.
AHEAD = 8
_PAUSE = 0.05  # seconds, in which a few batches are read


class Settled:
    """A contestant that reads ahead: the others wait, untimed, until it has read what it reads ahead.

    Args:
      contestant: is timed.
      pause: seconds to wait after each lap.
    """

    def __init__(self, contestant: Contestant, pause: float = _PAUSE):
        self._contestant = contestant
        self._pause = pause

    def lap(self) -> float:
        """Return the seconds per step of the contestant's lap."""
        found = self._contestant.lap()
        time.sleep(self._pause)
        return found

    def close(self) -> None:
        """Close the contestant."""
        self._contestant.close()


def by_input(data: Input, loops: int, steps: int = LOOP) -> Callable[[], None]:
    """Return a function that reads `loops` loops of `steps` steps; each call continues where the last one ended."""
    feed = data.open_train()
    counter = itertools.count(0, steps)

    @tf.function
    def loop(first):
        plan, seen = feed.plan(first, tf.constant(steps, tf.int64)), 0.0
        for i in tf.range(steps, dtype=tf.int64):
            part, examples = feed.fetch(plan, i)
            seen += _touch(feed.shard(part, examples, 0, 1)[0])
        return seen

    return _repeated(lambda: loop(tf.constant(next(counter), tf.int64)), loops)


def by_dataset(dataset: tf.data.Dataset, loops: int, steps: int = LOOP) -> Callable[[], None]:
    """Return a function that reads `loops` loops of `steps` steps of an endless dataset of batches."""
    iterator = iter(dataset)

    @tf.function
    def loop(iterator):
        seen = 0.0
        for _ in tf.range(steps):
            seen += _touch(next(iterator))
        return seen

    return _repeated(lambda: loop(iterator), loops)


def by_python(batches: Iterator[Any], steps: int) -> Callable[[], None]:
    """Return a function that takes `steps` batches from an endless iterator in Python, and leaves them as they are."""

    def run() -> None:
        for _ in range(steps):
            next(batches)

    return run


def first_batch(data: Input, steps: Sequence[int]) -> Callable[[], None]:
    """Return a function that reads the first batch at the next of the steps."""
    feed = data.open_train()
    remaining = itertools.cycle(steps)

    @tf.function
    def read(first):
        part, examples = feed.fetch(feed.plan(first, tf.constant(LOOP, tf.int64)), tf.constant(0, tf.int64))
        return feed.shard(part, examples, 0, 1)[0]

    def run() -> None:
        step = next(remaining)
        feed.seek(step)
        read(tf.constant(step, tf.int64))["x"].numpy()

    return run


def _touch(batch: Any) -> tf.Tensor:
    """Use the batch as little as possible, but keep the graph from dropping it."""
    return tf.add_n([tf.cast(tf.reshape(each, [-1])[-1], tf.float32) for each in tf.nest.flatten(batch)])


def _repeated(call: Callable[[], tf.Tensor], loops: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(loops):
            call().numpy()

    return run
