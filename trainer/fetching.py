"""The batches of the train steps, and what it takes to get them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from ..data.feed import Feed


class Fetched(NamedTuple):
    """What some steps were given.

    Attributes:
      steps: how many there were.
      examples: of all their global batches.
      waited: seconds until the batches were there.
    """

    steps: int
    examples: int
    waited: float


class Totals(NamedTuple):
    """What the steps of a loop have added up, in the graph. Each is a list of one, or of none where there is nothing to add up:
    what a loop in the graph carries costs five operations a step.

    Attributes:
      examples: int64 scalar. A feed whose batches are of one size needs none.
      waited: float64 scalar, seconds. Arrays are there already.
    """

    examples: list[tf.Tensor]
    waited: list[tf.Tensor]


class Fetching:
    """Fetches batches in the graph, and counts.

    The counts are kept on the device, as one variable that is written once a loop.

    Args:
      feed: the train batches.
    """

    def __init__(self, feed: Feed):
        self._feed = feed
        self._totals = tf.Variable(tf.zeros(len(Fetched._fields), tf.float64), trainable=False, name="fetched")

    def nothing(self) -> Totals:
        """Of no step."""
        examples = [] if self._feed.full_batch else [tf.zeros([], tf.int64)]
        return Totals(examples, [tf.zeros([], tf.float64)] if self._feed.waits else [])

    def fetch(self, plan: Any, place: tf.Tensor, totals: Totals) -> tuple[Any, tf.Tensor, Totals]:
        """(the batch, its examples, `totals` with those of the batch). See `Feed.fetch`."""
        begin = [_now([])] if self._feed.waits else []
        with tf.control_dependencies(begin):
            part, examples = self._feed.fetch(plan, place)
        took = [_now(tf.nest.flatten((part, examples), expand_composites=True)) - began for began in begin]
        waited = [total + more for total, more in zip(totals.waited, took, strict=True)]
        return part, examples, Totals([total + examples for total in totals.examples], waited)

    def count(self, done: tf.Tensor, fetched: tf.Tensor, totals: Totals) -> None:
        """Adds those of a loop: the steps done, the batches fetched, one of which may have been for nothing, and the rest."""
        examples = totals.examples or [fetched * self._feed.full_batch]
        found = [done, *examples, *(totals.waited or [tf.zeros([], tf.float64)])]
        self._totals.assign_add(tf.stack([tf.cast(each, tf.float64) for each in found]))

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """The steps within it do not count."""
        before = self._totals.numpy()
        yield
        self._totals.assign(before)

    def take(self) -> Fetched:
        """Those since the last call."""
        steps, examples, waited = self._totals.numpy()
        self._totals.assign(tf.zeros_like(self._totals))
        return Fetched(int(steps), int(examples), float(waited))


def _now(after: list[tf.Tensor]) -> tf.Tensor:
    with tf.device("CPU:0"), tf.control_dependencies(after):
        return tf.timestamp()
