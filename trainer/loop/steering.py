"""The part of a Trainer that actions and other threads use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...data import Input
from ...metrics.errors import UsageError
from ...metrics.writers import Summary
from ...metrics.writers.better import Mode
from ..checkpointing.eval_metric import dataset_of
from ..checkpointing.retention import Retention
from ..model.averaged_weights import AveragedWeights
from ..model.optimizers import Optimizers
from ..task import Task
from .acting import StopRequest
from .board import Board
from .evaluation import Evaluation
from .progress import Progress
from .schedule import Schedule
from .train_session import TrainSession


class Steering:
    """The side of a run that its actions see, and how they end it. The Trainer inherits it, and provides what is annotated."""

    _schedule: Schedule
    _progress: Progress
    _retention: Retention
    _train_dataset: Any
    _eval_datasets: Mapping[str, Input]
    _model_dir: Path | None
    _session: TrainSession
    _evaluation: Evaluation
    _built_optimizer: Optimizers
    _averaged: AveragedWeights
    _task: Task

    def __init__(self) -> None:
        self._stop = StopRequest()
        self._board: Board | None = None  # of the training that is running
        self._eval_metrics: Mapping[str, list[str]] = {}

    @property
    def step(self) -> int:
        """The number of train steps done."""
        return self._progress.step

    @property
    def train_steps(self) -> int:
        """The step at which training ends.

        Raises:
          UsageError: of `train_epochs` and a `train_dataset` whose length isn't known.
        """
        return self._schedule.train_steps

    @property
    def eval_datasets(self) -> Mapping[str, Input]:
        """Name -> the data to evaluate on."""
        return self._eval_datasets

    @property
    def eval_metrics(self) -> Mapping[str, list[str]]:
        """Eval dataset -> the paths of its metrics, once prepared; empty if this run doesn't evaluate."""
        return self._eval_metrics

    @property
    def stopped(self) -> str | None:
        """ "stopped at step N: REASON" if the last training was ended by `stop`, else None."""
        return self._stop.outcome

    @property
    def model_dir(self) -> Path | None:
        """The folder that the run writes to, if there is one."""
        return self._model_dir

    @property
    def optimizer(self) -> Optimizers:
        """The optimizer, built, or name -> that of each of several losses. An action may set its `learning_rate`."""
        return self._built_optimizer

    @property
    def session(self) -> TrainSession:
        """The compiled train loop, with all that training changes."""
        return self._session

    @property
    def task(self) -> Task:
        """The task that is trained."""
        return self._task

    def evaluated_weights(self) -> contextlib.AbstractContextManager[None]:
        """Give the model, inside the context, the weights to evaluate: their averages, if the optimizer keeps any."""
        return self._averaged.in_use()

    @property
    def board(self) -> Board:
        """The board that an action writes to TensorBoard with.

        Raises:
          UsageError: no training is running.
        """
        if self._board is None:
            raise UsageError("trainer.board: no training is running: use it in an action of Trainer.actions.")
        return self._board

    @property
    def datasets(self) -> list[Any]:
        """The data to train on, if there is any, and to evaluate on."""
        return [each for each in (self._train_dataset, *self._eval_datasets.values()) if each is not None]

    @property
    def _some_input(self) -> Input | None:
        return next(iter(self.datasets), None)

    @property
    def traces(self) -> dict[str, int]:
        """The number of traces of each compiled loop: "train", and "eval/NAME"."""
        loops = {f"eval/{name}": count for name, count in self._evaluation.traces.items()}
        return {"train": self._session.loop.traces, **loops} if self._train_dataset else loops

    @property
    def best_side(self) -> Mapping[str, Mode]:
        """The `best_metric` -> its `best_mode`; empty without one."""
        return self._retention.best.side

    @property
    def tracks_best(self) -> bool:
        """True if there is a `best_metric`."""
        return self._retention.best.metric is not None

    def is_best(self, summary: Summary) -> bool:
        """Return whether an evaluation, which an action is given, is better by `best_metric` than all before it."""
        dataset = dataset_of(summary, self._eval_datasets)
        evaluated = {} if dataset is None else {dataset: summary.metrics}
        return self._retention.best.improvement(evaluated, len(self._eval_datasets) == 1) is not None

    def stop(self, reason: str) -> None:
        """End the running training after the steps in flight; it saves, and `train` returns. For actions and other threads.

        Before a training has begun, it ends the next one at its start. All workers end together, if any of them calls this.
        The same command trains on, unless an action asks for the end again.

        Args:
          reason: is printed, and written to `run.json`.

        Raises:
          UsageError: there is no reason.
        """
        self._stop.ask(_reason(reason))

    @contextlib.contextmanager
    def _writing_to(self, board: Board) -> Iterator[None]:
        """Note, inside the context, that a training is running that writes there."""
        self._board = board
        try:
            yield
        finally:
            self._board = None


def _reason(value: Any) -> str:
    """Return why a run is to stop, as one line."""
    if isinstance(value, str) and value.strip():
        return " ".join(value.split())
    raise UsageError(f"trainer.stop(reason): reason = {value!r}: expected a text that says why the run stops.")
