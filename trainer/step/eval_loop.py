"""The compiled eval steps: a pass over a dataset, in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...data.feeds.feed import Feed
from ...metrics.device.accumulator import Drained
from ..distribution import workers
from ..user_code import Place
from .batches import SkippedExamples, data_errors_located
from .replica import run_on_shards
from .replica_step import ReplicaStep

_FEWEST = 16  # batches between two looks at whether to stop: fewer would cost time
_MOST = 256


class EvaluationStopped(Exception):
    """An evaluation was stopped before it had seen all its data."""


class EvalLoop:
    """Evaluates on a whole dataset: each example once, including the ragged last batch.

    Args:
      replica_step: the forward pass of one replica; its accumulator adds the metrics of the pass up.
      strategy: the replicas.
      feed: the eval batches.
      in_flight: how many batches may run at once; the memory for their activations grows with it.
    """

    def __init__(self, *, replica_step: ReplicaStep, strategy: tf.distribute.Strategy, feed: Feed, in_flight: int):
        self._replica_step = replica_step
        self._accumulator = replica_step.accumulator
        self._strategy = strategy
        self._feed = feed
        self._in_flight = in_flight
        self.skipped_examples: SkippedExamples = SkippedExamples(feed, strategy)
        self._run = tf.function(self._loop, autograph=False)

    @property
    def traces(self) -> int:
        """The number of times the loop was traced; 1 after any number of passes."""
        return self._run.experimental_get_tracing_count()

    def trace(self) -> None:
        """Trace the loop without running a step."""
        self._feed.rewind()
        spec = tf.TensorSpec([], tf.int64)
        self._run.get_concrete_function(spec, spec)

    def run(
        self,
        max_batches: int | None = None,
        stop: Callable[[], bool] = lambda: False,
        steps_per_call: int = _MOST,
        place: Place | None = None,
    ) -> Drained:
        """Run one pass, or its first `max_batches`; returns the sums, still on the device.

        Args:
          max_batches: None for all.
          stop: returns whether to stop.
          steps_per_call: the number of batches between two calls of `stop`, within limits.
          place: what an error of the task's is told with.

        Raises:
          EvaluationStopped: `stop` returned True.
        """
        self._feed.rewind()
        self.skipped_examples.take()
        most = min(_MOST, max(_FEWEST, steps_per_call))
        known = [each for each in (self._feed.batches_per_epoch, max_batches) if each is not None]
        first, limit, more = 0, min(known, default=None), True
        while more and (limit is None or first < limit):
            if stop():
                self._accumulator.drain()
                raise EvaluationStopped
            steps = most if limit is None else min(most, limit - first)
            with data_errors_located(self._feed, 0, lambda: place):
                more = bool(self._run(tf.constant(first, tf.int64), tf.constant(steps, tf.int64)))
            if self._feed.local:  # each worker comes to its own end, and asks `stop` as often as the others
                (more,) = workers.any_of(self._strategy, more)
            first += steps
        return self._accumulator.drain()

    def _loop(self, first: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
        """Return whether there may be more data."""
        plan = self._feed.plan(first, num_steps)
        # Traced before the loop, whose sums must have a known size; the graph has it inline.
        batch = tf.function(self._batch, autograph=False).get_concrete_function(plan, first)

        def body(i, _, sums):
            packed, more = batch(plan, i)
            return i + 1, more, self._accumulator.combine(sums, packed)

        start = [tf.constant(0, tf.int64), tf.constant(True), self._accumulator.identity()]
        _, more, sums = tf.while_loop(
            lambda i, more, _: more & (i < num_steps), body, start, parallel_iterations=self._in_flight
        )
        self._accumulator.add(sums)
        return more

    def _batch(self, plan: Any, i: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Return the replicas' packed tallies of a batch, and whether there may be more batches."""
        part, examples = self._feed.fetch(plan, i)
        self.skipped_examples.add(part)
        # Where the number of batches is known, one without examples is not the end: all of them may be bad. Not a constant, as
        # the next batch must wait until this one is there.
        more = examples > 0 if self._feed.batches_per_epoch is None else examples >= 0
        return run_on_shards(self._strategy, self._feed, part, examples, self._replica_step.evaluate), more
