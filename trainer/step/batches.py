"""The batches of the train steps, and what it takes to get them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from ...data.failures import FAILURES
from ...data.feeds.feed import Feed


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


class Plans:
    """Plans many steps at once: that takes about as long as to plan one, and a loop may have few steps.

    Args:
      feed: the train batches.
      longest: the most steps of a loop.
      jit_compile: compile it with XLA.
    """

    def __init__(self, feed: Feed, longest: int, jit_compile: bool):
        self._feed = feed
        self._steps = feed.steps_to_plan(longest)
        self._make = tf.function(self._plan, autograph=False, jit_compile=jit_compile)
        self._begin, self._planned = 0, None
        self._bounds: dict[int, tf.Tensor] = {}  # making a constant takes longer than looking it up

    @property
    def specs(self) -> tuple[Any, tf.TensorSpec]:
        """Of what `at` returns."""
        made = self._make.get_concrete_function(tf.TensorSpec([], tf.int64)).structured_outputs
        return tf.nest.map_structure(self._spec, made), tf.TensorSpec([2], tf.int64)

    def at(self, step: int, num_steps: int) -> tuple[Any, tf.Tensor]:
        """(a plan of these steps and others; int64 [2]: the step that it begins with, and `num_steps`).

        The two numbers are one tensor, as TensorFlow takes tens of microseconds for each argument of a traced function.
        """
        if self._planned is None or not self._begin <= step <= step + num_steps <= self._begin + self._steps:
            self._begin, self._planned = step, self._make(tf.constant(step, tf.int64))
            self._bounds.clear()
        if num_steps not in self._bounds:
            self._bounds[num_steps] = tf.constant([self._begin, num_steps], tf.int64)
        return self._feed.narrowed(self._planned, step), self._bounds[num_steps]

    def _plan(self, first: tf.Tensor) -> Any:
        return self._feed.plan(first, self._steps)

    def _spec(self, tensor: tf.Tensor) -> tf.TensorSpec:
        """Of any number of rows, as `narrowed` may leave fewer."""
        static = self._feed.full_batch is not None
        return tf.TensorSpec([d if i == 0 or static else None for i, d in enumerate(tensor.shape)], tensor.dtype)


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
