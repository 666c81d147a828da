"""Evaluation on named datasets."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ...data.feeds.feed import Feed
from ...metrics.device.accumulator import Accumulator
from ...metrics.registry import MetricRegistry
from ...metrics.terminal.spinner import doing
from ...metrics.writers import Summary
from ..distribution.strategies import is_one_cpu
from ..model.averaged_weights import AveragedWeights
from ..model.layers import convolves
from ..step.eval_loop import EvalLoop
from ..step.replica_step import ReplicaStep
from ..task import Task, TaskLosses
from ..user_code import Place, traced_on
from .summaries import summarize
from .timing import TIMES

_MANY = 10  # batches in flight, TensorFlow's default for a loop
_SMALL_MODEL, _SMALL_EXAMPLE = 2**20, 2**12  # parameters; bytes


class Evaluation:
    """The eval loops of a run, one per dataset.

    Args:
      task: its `eval_step` and `metrics` are evaluated.
      model: the model to evaluate.
      strategy: the replicas.
      feeds: dataset name -> eval batches.
      averaged: returns the averages that the model is evaluated with, if the optimizer keeps any; called at the first `run`, as
        it may have to build the optimizer.
      jit_compile: let XLA compile what it can, see `EvalLoop`.
    """

    def __init__(
        self,
        task: Task,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        feeds: Mapping[str, Feed],
        averaged: Callable[[], AveragedWeights] = lambda: AveragedWeights(None),
        jit_compile: bool = False,
    ):
        self._averaged = averaged
        self._feeds = feeds
        self._registries = {name: MetricRegistry(task.metrics, TIMES) for name in feeds}
        self._loops = {}
        self._is_traced = False
        losses = TaskLosses(task, model)
        for name, feed in feeds.items():
            accumulator = Accumulator(strategy, self._registries[name].layout)
            self._loops[name] = EvalLoop(
                replica_step=ReplicaStep(losses, task.eval_step, self._registries[name], accumulator),
                strategy=strategy,
                feed=feed,
                in_flight=_MANY if _is_small(model, feed) else 1,
                compiles=jit_compile and is_one_cpu(strategy) and not convolves(task, model),
            )

    @property
    def traces(self) -> dict[str, int]:
        """Dataset name -> the number of times its loop was traced."""
        return {name: loop.traces for name, loop in self._loops.items()}

    def trace(self) -> None:
        """Trace every loop without running it."""
        for name, loop in self._loops.items():
            located = traced_on(self._place(name), lambda name=name: self._feeds[name].element_spec)
            with located, doing(f"tracing the evaluation of {name}"):
                loop.trace()
        self._is_traced = True

    @property
    def paths(self) -> dict[str, list[str]]:
        """Dataset name -> the paths of its metrics as they are recorded; known once the loops have been traced."""
        return {name: registry.paths for name, registry in self._registries.items()}

    def run(self, step: int, **arguments: Any) -> dict[str, Summary]:
        """Evaluate on every dataset; returns dataset name -> its summary.

        The split is `eval` with one dataset and `eval/NAME` with several.

        Args:
          step: the train steps done.
          **arguments: passed to `EvalLoop.run`.

        Raises:
          EvaluationStopped: it was asked to stop.
        """
        if not self._is_traced:
            self.trace()
        with self._averaged().in_use():
            return {name: self._run(name, step, **arguments) for name in self._loops}

    def _run(self, name: str, step: int, **arguments: Any) -> Summary:
        started = time.monotonic()
        drained = self._loops[name].run(place=self._place(name, f"after step {step}"), **arguments)
        seconds = time.monotonic() - started
        known = self._loops[name].skipped_examples.take()
        times = {"time/eval_s": seconds}
        return summarize(self._registries[name], drained, step, self._split(name), seconds, known, times)

    def _place(self, name: str, *when: str) -> Place:
        return Place(self._split(name), f"Trainer.eval_datasets[{name!r}]", *when, feed=id(self._feeds[name]))

    def _split(self, name: str) -> str:
        return "eval" if len(self._loops) == 1 else f"eval/{name}"


def _is_small(model: keras.Model, feed: Feed) -> bool:
    """Return whether batches should overlap: they are quick, their activations small, and one alone can't use all cores."""
    specs = tf.nest.flatten(feed.element_spec)
    elements = [spec.shape[1:].num_elements() for spec in specs]
    # Not `count_params`, which refuses a model that the task never calls as a whole.
    if None in elements or sum(math.prod(weight.shape) for weight in model.weights) > _SMALL_MODEL:
        return False
    return sum(count * spec.dtype.size for count, spec in zip(elements, specs, strict=True)) <= _SMALL_EXAMPLE
