"""Bad examples in the compiled loops: counted where they are left out, and named where they are not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from ..data.bad_examples import FAILURES
from ..data.feed import Feed

PATH = "data/skipped"  # of the metric


@contextlib.contextmanager
def named(feed: Feed, step: int) -> Iterator[None]:
    """Says of an error of the data which example it is.

    Args:
      feed: whose batches are fetched within it.
      step: the steps done before.

    Raises:
      DataError: instead of TensorFlow's error.
    """
    try:
        yield
    except FAILURES as error:
        found = feed.data_error(error, step)
        if found is None:
            raise
        raise found from error


class SkippedExamples:
    """Counts the examples that a feed leaves out, if it does that."""

    def __init__(self, feed: Feed):
        self._feed = feed
        self._counts = False  # known once a step was traced
        self._count = tf.Variable(0, trainable=False, dtype=tf.int64, name="skipped_examples")

    def add(self, part: Any) -> None:
        """In the graph, once a fetched batch: counts those beside it."""
        skipped = self._feed.skipped(part)
        if skipped is not None:
            self._counts = True
            self._count.assign_add(skipped)

    def take(self) -> dict[str, float]:
        """Returns the number since the last call, as a metric; nothing for a feed that leaves none out."""
        if not self._counts:
            return {}
        found = float(self._count.numpy())
        self._count.assign(0)
        return {PATH: found}

    def state(self) -> tf.Variable:
        """What a checkpoint holds."""
        return self._count
