"""The batches of the compiled loops: planned ahead, fetched, timed and counted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ...data.feeds.feed import Feed
from ...data.messages.failures import FAILURES
from ...metrics.errors import DataError, UsageError
from ..distribution import workers
from ..user_code import Place, raised_in_a_step

_USAGE_ERROR = re.compile(r"\bUsageError: (.*)")
SKIPPED_EXAMPLES = "data/skipped"  # the metric


def fetch_one(feed: Feed, step: tf.Tensor | int) -> tuple[Any, tf.Tensor]:
    """Fetch the global batch of one step, eagerly or in a graph; returns what `Feed.fetch` does."""
    first, one = tf.convert_to_tensor(step, tf.int64), tf.constant(1, tf.int64)
    plan = feed.plan(first, one)
    return feed.fetch(feed.narrowed(plan, step) if isinstance(step, int) else plan, tf.constant(0, tf.int64))


def whole_batch(feed: Feed, part: Any, examples: tf.Tensor) -> Any:
    """Return all examples of a fetched batch, as the shard of the only replica."""
    return feed.shard(part, examples, 0, 1)[0]


def first_batch(feed: Feed) -> Any:
    """Return the first global batch of a newly opened feed as NumPy.

    Raises:
      DataError: an example in it cannot be read.
    """
    with data_errors_located(feed, 0):
        return feed.first_batch()


@contextlib.contextmanager
def data_errors_located(feed: Feed, step: int, place: Callable[[], Place | None] = lambda: None) -> Iterator[None]:
    """Replace TensorFlow's error about a bad example by one that names the example, and one from Python by that itself.

    Args:
      feed: the feed whose batches are fetched inside the context.
      step: the number of steps done before.
      place: returns the split and the steps that run inside the context.

    Raises:
      DataError: an example cannot be read.
      UsageError: a `tf.py_function` of the step raised it, of which TensorFlow passes on only the text; or an operation that the
        task made failed.
    """
    try:
        yield
    except FAILURES as error:
        if workers.lost_worker(error) is not None:
            raise
        usage = _USAGE_ERROR.search(str(error))
        if usage is not None:
            raise UsageError(usage[1]) from error
        where = place()
        found = feed.data_error(error, step) or _of_the_task(error, where, feed.element_spec)
        if found is None:
            raise
        if isinstance(found, DataError) and where is not None:
            found.add_note(f"({where.told()})")
        raise found from (found.__cause__ or error)


def _of_the_task(error: Exception, place: Place | None, batch: Any) -> UsageError | None:
    """Return the error for an operation of the task that failed, such as one on shapes that do not fit."""
    if not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.UnknownError):
        return None
    told = raised_in_a_step(error, place, batch)
    return None if told is None else UsageError(told)


class Fetched(NamedTuple):
    """The batches that some steps were given.

    Attributes:
      steps: the number of steps.
      examples: the examples of all their global batches.
      waited: seconds until the batches were available.
    """

    steps: int
    examples: int
    waited: float


class Totals(NamedTuple):
    """The sums of the steps of a loop so far, in the graph.

    Each is a list of one tensor, or empty where there is nothing to add up: carrying a tensor through a loop costs five
    operations per step.

    Attributes:
      examples: int64 scalar. Empty if all batches of the feed have one size.
      waited: float64 scalar, seconds. Empty for arrays in memory, which are always available.
    """

    examples: list[tf.Tensor]
    waited: list[tf.Tensor]


class Fetching:
    """Fetches batches in the graph, and counts and times them.

    The counts stay on the device, in one variable that is written once per loop.

    Args:
      feed: the train batches.
    """

    def __init__(self, feed: Feed):
        self._feed = feed
        self._totals = tf.Variable(tf.zeros(len(Fetched._fields), tf.float64), trainable=False, name="fetched")

    def zero_totals(self) -> Totals:
        """The totals before the first step of a loop."""
        examples = [] if self._feed.full_batch else [tf.zeros([], tf.int64)]
        return Totals(examples, [tf.zeros([], tf.float64)] if self._feed.waits else [])

    def fetch(self, plan: Any, place: tf.Tensor, totals: Totals) -> tuple[Any, tf.Tensor, Totals]:
        """Fetch the batch at `place` of the plan; returns (part, examples, the totals including it). See `Feed.fetch`."""
        begin = [_now([])] if self._feed.waits else []
        with tf.control_dependencies(begin):
            part, examples = self._feed.fetch(plan, place)
        took = [_now(tf.nest.flatten((part, examples), expand_composites=True)) - began for began in begin]
        waited = [total + more for total, more in zip(totals.waited, took, strict=True)]
        return part, examples, Totals([total + examples for total in totals.examples], waited)

    def count(self, done: tf.Tensor, fetched: tf.Tensor, totals: Totals) -> None:
        """Add a finished loop: the steps done, the batches fetched (one more if the last step was undone), the totals."""
        examples = totals.examples or [fetched * (self._feed.full_batch or 0)]
        found = [done, *examples, *(totals.waited or [tf.zeros([], tf.float64)])]
        self._totals.assign_add(tf.stack([tf.cast(each, tf.float64) for each in found]))

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave the steps inside the context out of the counts."""
        before = self._totals.numpy()
        yield
        self._totals.assign(before)

    def take(self) -> Fetched:
        """Return the counts since the last call."""
        steps, examples, waited = self._totals.numpy()
        self._totals.assign(tf.zeros_like(self._totals))
        return Fetched(int(steps), int(examples), float(waited))


class StepPlanner:
    """Plans the data of many steps at once, which takes about as long as planning one.

    The plan and its bounds are in variables, which the traced loop reads: TensorFlow takes tens of microseconds per argument
    of a traced function.

    Args:
      feed: the train batches.
      longest: the most steps of a loop.
      jit_compile: compile the planning with XLA.
    """

    def __init__(self, feed: Feed, longest: int, jit_compile: bool):
        self._feed = feed
        self._steps = feed.steps_to_plan(longest)
        self._make = tf.function(self._plan, autograph=False, jit_compile=jit_compile)
        made = self._make.get_concrete_function(tf.TensorSpec([], tf.int64)).structured_outputs
        self._variables = tf.nest.map_structure(self._variable, made)
        self._bounds = _on_cpu(tf.zeros([2], tf.int64), [2], "bounds")
        self._begin, self._planned = 0, None
        self._last: tuple[int, int, Hashable] | None = None

    def prepare(self, step: int, num_steps: int) -> None:
        """Let `plan` contain these steps, in the shape of their kind."""
        if self._planned is None or not self._begin <= step <= step + num_steps <= self._begin + self._steps:
            self._begin, self._planned = step, self._make(tf.constant(step, tf.int64))
            self._last = None
        now = self._begin, num_steps, self._feed.kind(step)
        if now != self._last:
            narrowed = self._feed.narrowed(self._planned, step)
            tf.nest.map_structure(lambda variable, tensor: variable.assign(tensor), self._variables, narrowed)
            self._bounds.assign([self._begin, num_steps])
            self._last = now

    def plan(self) -> tuple[Any, tf.Tensor, tf.Tensor]:
        """In the graph, return (the plan that was prepared, the step at which it begins, how many steps to run)."""
        begin, num_steps = tf.unstack(self._bounds.read_value())
        return tf.nest.map_structure(lambda variable: variable.read_value(), self._variables), begin, num_steps

    def _plan(self, first: tf.Tensor) -> Any:
        return self._feed.plan(first, self._steps)

    def _variable(self, tensor: tf.Tensor) -> tf.Variable:
        """Return a variable of any number of rows, as `narrowed` may leave fewer."""
        static = self._feed.full_batch is not None
        shape = [d if i == 0 or static else None for i, d in enumerate(tensor.shape)]
        return _on_cpu(tf.zeros([d or 0 for d in shape], tensor.dtype), shape, "plan")


class StoppedBatch:
    """Keeps the batch at which the loop stopped, for a stream, which cannot read it again.

    Args:
      feed: the train batches.
    """

    def __init__(self, feed: Feed):
        self._variables: list[tf.Variable] = []
        if feed.num_examples is None:
            fetch = tf.function(partial(fetch_one, feed), autograph=False)
            self._structure = fetch.get_concrete_function(tf.TensorSpec([], tf.int64)).structured_outputs
            self._variables = [
                _on_cpu(
                    tf.zeros([0, *(d or 0 for d in each.shape[1:])][: each.shape.rank], each.dtype),
                    _any_rows(each.shape),
                    "stopped_batch",
                )
                for each in tf.nest.flatten(self._structure)
            ]

    def keep(self, goes_on: tf.Tensor, part: Any, examples: tf.Tensor) -> None:
        """In the graph, after a step, keep what `Feed.fetch` returned for it if the loop stops there."""
        if not self._variables:
            return

        def assign() -> tf.Tensor:
            fetched = tf.nest.flatten((part, examples))
            for variable, tensor in zip(self._variables, fetched, strict=True):
                variable.assign(tensor)
            return goes_on

        tf.cond(goes_on, lambda: goes_on, assign)

    def take(self) -> tuple[Any, tf.Tensor]:
        """Return what was kept, as `Feed.fetch` would."""
        values = [variable.read_value() for variable in self._variables]
        return tf.nest.pack_sequence_as(self._structure, values)


class SkippedExamples:
    """Counts the examples that a feed skips because they are bad, if it skips any. A part of the checkpoint.

    Where each worker reads its own part of the data, each counts its own, and they are added up when they are taken or saved.

    Args:
      feed: the batches.
      strategy: the replicas.
    """

    def __init__(self, feed: Feed, strategy: tf.distribute.Strategy):
        self._feed = feed
        self._strategy = strategy
        self._counts = False  # known once a step has been traced
        self._count = tf.Variable(tf.zeros([], tf.int64), trainable=False, name="skipped_examples")

    def add(self, part: Any) -> None:
        """Count the examples skipped with a fetched batch; in the graph, once per batch."""
        skipped = self._feed.skipped(part)
        if skipped is not None:
            self._counts = True
            self._count.assign_add(skipped)

    def take(self) -> dict[str, float]:
        """Return the number since the last call as a metric; empty for a feed that skips none."""
        if not self._counts:
            return {}
        found = float(self._total())
        self._count.assign(0)
        return {SKIPPED_EXAMPLES: found}

    def state(self) -> dict[str, Any]:
        """The count since the last summary."""
        return {"skipped_examples": self._count}

    def before_save(self) -> None:
        """Leave the count of all workers with the chief, who saves it."""
        if self._counts and self._feed.local:
            self._keep_on_chief(self._total())

    def after_restore(self) -> None:
        """Leave the restored count with the chief."""
        if self._feed.local:
            self._keep_on_chief(self._count.numpy())

    def _total(self) -> np.ndarray:
        mine = self._count.numpy()
        return workers.total(self._strategy, mine) if self._feed.local else mine

    def _keep_on_chief(self, count: np.ndarray) -> None:
        self._count.assign(count if workers.is_chief(self._strategy) else 0)


def _any_rows(shape: tf.TensorShape) -> list[int | None]:
    return [None, *shape[1:]] if shape.rank else []


def _on_cpu(value: tf.Tensor, shape: list[int | None], name: str) -> tf.Variable:
    with tf.device("CPU:0"):
        return tf.Variable(value, trainable=False, name=name, shape=tf.TensorShape(shape))


def _now(after: list[tf.Tensor]) -> tf.Tensor:
    with tf.device("CPU:0"), tf.control_dependencies(after):
        return tf.timestamp()
