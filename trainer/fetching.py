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


class Fetching:
    """Fetches batches in the graph, and counts.

    The counts are kept on the device, as one variable that is written once a loop.

    Args:
      feed: the train batches.
    """

    def __init__(self, feed: Feed):
        self._feed = feed
        self._totals = tf.Variable(tf.zeros(len(Fetched._fields), tf.float64), trainable=False, name="fetched")

    def fetch(self, plan: Any, place: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """(the batch, its examples, the seconds that it took: float64 scalar). See `Feed.fetch`."""
        if not self._feed.waits:
            return *self._feed.fetch(plan, place), tf.zeros([], tf.float64)
        begin = _now([])
        with tf.control_dependencies([begin]):
            part, examples = self._feed.fetch(plan, place)
        return part, examples, _now(tf.nest.flatten((part, examples), expand_composites=True)) - begin

    def count(self, steps: tf.Tensor, examples: tf.Tensor, waited: tf.Tensor) -> None:
        """Adds those of a loop."""
        self._totals.assign_add(tf.stack([tf.cast(each, tf.float64) for each in (steps, examples, waited)]))

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
