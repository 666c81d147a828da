"""One run of the loop, from the step it finds to the last."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..metrics.writers import ConsoleWriter, Summary
from ..metrics.writers.speed import Stopwatch
from .averaged_weights import AveragedWeights
from .checkpoints import Saver
from .evaluation import Evaluation
from .outputs import Nowhere, RunWriters
from .schedule import Schedule
from .summaries import Summaries
from .training import Training


class Run:
    """Trains, summarises, evaluates and saves by a schedule. A context manager: it closes its writers.

    Args:
      trainer: what the actions are given.
      training: what is trained, restored already.
      evaluation: what is evaluated; None does not evaluate.
      averaged: the weights that it is evaluated with.
      schedule: when.
      model_dir: where it writes; None writes nothing.
      chief: whether this worker writes, to the model_dir and to the console.
      keep_checkpoints: how many to keep.
      global_batch_size: examples a step, for the speed.
      actions: called with each summary.
    """

    def __init__(
        self,
        *,
        trainer: Any,
        training: Training,
        evaluation: Evaluation | None,
        averaged: AveragedWeights,
        schedule: Schedule,
        model_dir: Path | None,
        chief: bool,
        keep_checkpoints: int,
        global_batch_size: int,
        actions: Sequence[Callable[[Any, Summary], None]],
    ):
        self._training = training
        self._evaluation = evaluation
        self._averaged = averaged
        self._schedule = schedule
        self._console = ConsoleWriter(sys.stdout if chief else Nowhere(), schedule.train_steps, global_batch_size)
        self._saves = model_dir is not None
        writes = model_dir is not None and chief
        self._writers = RunWriters(model_dir) if writes else None
        self._saver = Saver(training.state(), model_dir / "checkpoints", keep_checkpoints) if writes else None
        files = [self._writers.write] if self._writers else []
        self._summaries = Summaries(
            training.registry, [*files, self._console.write, *(partial(action, trainer) for action in actions)]
        )
        self._step = training.step
        self._watch = Stopwatch(time.monotonic)
        self._lap_start = self._watch.elapsed()
        self._evaluated: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error) -> None:
        try:
            if self._writers:
                self._writers.close()
        finally:
            self._console.close()

    def to_the_end(self) -> dict[str, dict[str, Any]]:
        """Runs up to `train_steps`; returns the last evaluation, dataset -> metric -> value."""
        end = self._schedule.train_steps
        if self._step >= end:
            self._console.note(
                f"Nothing to do: {self._step} of {end} steps are done. Raise Trainer.train_steps to go on."
            )
            return {}
        if self._writers:
            self._writers.rewind_to(self._step)
        while self._step < end:
            self._train()
            self._after_loop()
        self._summaries.settle()
        return self._evaluated

    def _train(self) -> None:
        steps = self._schedule.loop_steps(self._step)
        finite = self._training.loop.run(steps)
        self._step = self._training.step
        self._summaries.settle()
        if not finite:
            raise self._training.non_finite_error()
        self._console.progress(self._step)

    def _after_loop(self) -> None:
        step, schedule = self._step, self._schedule
        if schedule.summarizes(step):
            self._summaries.defer(step, self._training.drain(), self._lap(), self._training.learning_rates())
        evaluates = self._evaluation is not None and schedule.evaluates(step)
        saves = self._saves and schedule.saves(step)
        if not (evaluates or saves):
            return
        self._summaries.settle()
        with self._console.paused(), self._watch.paused():
            if evaluates:
                self._evaluate()
            if saves:
                self._save()

    def _lap(self) -> float:
        """Seconds since the last train summary, without evaluations and checkpoints."""
        before, self._lap_start = self._lap_start, self._watch.elapsed()
        return self._lap_start - before

    def _evaluate(self) -> None:
        with self._averaged.in_use():
            summaries = self._evaluation.run(self._step)
        for name, summary in summaries.items():
            self._evaluated[name] = dict(summary.metrics)
            self._summaries.emit(summary)

    def _save(self) -> None:
        self._training.hold()
        if self._saver is not None:
            # Points before the checkpoint: a rerun drops points past a checkpoint, but cannot make up for lost ones.
            self._writers.flush()
            self._saver.save(self._step)
