"""The compiled eval steps: a pass over a dataset, in the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
from absl import logging

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
      compiles: let XLA compile the loop over the full batches of arrays, which needs one replica on a CPU.
    """

    def __init__(
        self,
        *,
        replica_step: ReplicaStep,
        strategy: tf.distribute.Strategy,
        feed: Feed,
        in_flight: int,
        compiles: bool = False,
    ):
        self._replica_step = replica_step
        self._accumulator = replica_step.accumulator
        self._strategy = strategy
        self._feed = feed
        self._in_flight = in_flight
        self.skipped_examples: SkippedExamples = SkippedExamples(feed, strategy)
        self._run = tf.function(partial(self._loop, partial(self._sums, feed)), autograph=False)
        self._full = feed.full_batches() if compiles else None
        if self._full is not None:
            sums = tf.function(partial(self._sums, self._full), autograph=False, jit_compile=True)
            self._run_full = tf.function(partial(self._loop, sums), autograph=False)

    @property
    def traces(self) -> int:
        """The number of times the loop was traced; 1 after any number of passes."""
        counts = [self._run.experimental_get_tracing_count()]
        if self._full is not None:
            counts.append(self._run_full.experimental_get_tracing_count())
        return max(counts)

    def trace(self) -> None:
        """Trace the loop without running a step."""
        self._feed.rewind()
        spec = tf.TensorSpec([], tf.int64)
        (self._run if self._full is None else self._run_full).get_concrete_function(spec, spec)

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
          place: where an error of the task is reported to have occurred.

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
                more, steps = self._call(first, steps)
            if self._feed.local:  # each worker comes to its own end, and asks `stop` as often as the others
                (more,) = workers.any_of(self._strategy, more)
            first += steps
        return self._accumulator.drain()

    def _call(self, first: int, steps: int) -> tuple[bool, int]:
        """Run up to so many steps; return whether there may be more data, and how many were run."""
        if self._full is not None and first < (full := self._full.batches_per_epoch or 0):
            steps = min(steps, full - first)
            try:
                return bool(self._run_full(tf.constant(first, tf.int64), tf.constant(steps, tf.int64))), steps
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
                logging.warning("XLA cannot compile the evaluation, which runs without it: %s", error.message)
                self._full = None
        return bool(self._run(tf.constant(first, tf.int64), tf.constant(steps, tf.int64))), steps

    def _loop(self, sums_of: Callable[..., tuple[tf.Tensor, Any]], first: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
        """Return whether there may be more data."""
        more, sums = sums_of(first, num_steps)
        self._accumulator.add(sums)
        return more

    def _sums(self, feed: Feed, first: tf.Tensor, num_steps: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Return whether there may be more data, and the sums of some batches."""
        plan = feed.plan(first, num_steps)
        # Traced before the loop, whose sums must have a known size; the graph has it inline.
        batch = tf.function(partial(self._batch, feed), autograph=False).get_concrete_function(plan, first)

        def body(i, _, sums):
            packed, more = batch(plan, i)
            return i + 1, more, self._accumulator.combine(sums, packed)

        start = [tf.constant(0, tf.int64), tf.constant(True), self._accumulator.identity()]
        _, more, sums = tf.while_loop(
            lambda i, more, _: more & (i < num_steps), body, start, parallel_iterations=self._in_flight
        )
        return more, sums

    def _batch(self, feed: Feed, plan: Any, i: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Return the replicas' packed tallies of a batch, and whether there may be more batches."""
        part, examples = feed.fetch(plan, i)
        self.skipped_examples.add(part)
        # Where the number of batches is known, one without examples is not the end: all of them may be bad. Not a constant, as
        # the next batch must wait until this one is there.
        more = examples > 0 if feed.batches_per_epoch is None else examples >= 0
        work, all_replicas = self._replica_step.evaluate, not feed.local
        with self._replica_step.lookups():
            return run_on_shards(self._strategy, feed, part, examples, work, all_replicas), more
