"""Whose weights the model has: its initial ones, a checkpoint's, or those of the run."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ...metrics.terminal.spinner import doing
from ...metrics.writers.run_files import CHECKPOINTS
from ..checkpointing import restore
from ..checkpointing.folder import CheckpointFolder
from ..checkpointing.initial_weights import load_weights
from ..checkpointing.retention import best_checkpoint
from ..checkpointing.state import ModelState, owned_variables
from ..distribution import workers
from ..model.averaged_weights import AveragedWeights
from ..model.optimizers import by_loss
from . import folder_lock
from .progress import Progress
from .train_session import TrainSession


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """The source of a new run's weights. See the `Trainer` arguments of the same names."""

    initial_weights: str | Path | None = None
    initial_weights_map: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load(self, model: keras.Model) -> None:
        """Load them into `model`, if there are any."""
        if self.initial_weights is not None:
            load_weights(model, self.initial_weights, self.initial_weights_map)


class Loaded(enum.Enum):
    """The weights that have been loaded into the model so far."""

    NOTHING = enum.auto()
    WEIGHTS = enum.auto()  # to evaluate, predict or export
    RUN = enum.auto()  # everything that training continues from


class ModelWeights:
    """Loads weights into the model, once for a run and as often as needed for evaluation.

    Args:
      task: the variables that it holds are loaded too.
      model: the built model.
      progress: the step of the weights.
      averaged: the averages that the optimizer keeps.
      strategy: its workers load together.
      model_dir: the run folder; None has no checkpoints.
      initial: where a new run takes its weights from.
    """

    def __init__(
        self,
        *,
        task: Any,
        model: keras.Model,
        progress: Progress,
        averaged: AveragedWeights,
        strategy: tf.distribute.Strategy,
        model_dir: Path | None,
        initial: InitialWeights,
    ):
        self._task = task
        self._model = model
        self._progress = progress
        self._averaged = averaged
        self._strategy = strategy
        self._model_dir = model_dir
        self._initial = initial
        self._loaded = Loaded.NOTHING
        self._is_warned = False
        self._foreign: str | None = None  # a checkpoint that was loaded by its path, to evaluate

    def continue_run(self, session: TrainSession) -> None:
        """Continue from the newest checkpoint, unless that or training has happened already.

        Raises:
          UsageError: the checkpoint doesn't fit, or the workers don't see the same one.
        """
        if self._loaded is not Loaded.RUN and self._model_dir is not None:
            folder = CheckpointFolder(self._model_dir / CHECKPOINTS)
            if folder_lock.is_held(self._model_dir):
                folder.recover()
            workers.wait_for_all(self._strategy)
            with doing("looking for a checkpoint"):
                restored = session.restore_newest(folder)
            if restored:
                self._foreign = None
            self._check_same_step()
        if self._foreign is not None:
            raise UsageError(
                f"This Trainer has the weights and the step of {self._foreign}, which it was given to evaluate, predict or "
                "export: expected one that has loaded none. Train with another Trainer; Trainer.initial_weights begins there."
            )
        self._load_initial()
        self._loaded = Loaded.RUN

    def begin(self) -> None:
        """Give the model the weights with which the run began.

        Raises:
          UsageError: it has others already.
        """
        if self._loaded is not Loaded.NOTHING or self._progress.step:
            raise UsageError(
                f"This Trainer has the weights of step {self._progress.step}, and there is no earlier checkpoint: expected one "
                "that has not trained or loaded weights yet. Make a new Trainer, and call this first."
            )
        self._load_initial()

    @contextlib.contextmanager
    def of(self, checkpoint: str | None, on_all_workers: bool = False, purpose: str = "") -> Iterator[None]:
        """Take the model and the step from a checkpoint, inside the context.

        A trainer that has trained gets its own weights back afterwards.

        Args:
          checkpoint: its path; "best" for that of `Trainer.best_metric`. None keeps the weights of a trainer that has trained or
            loaded some, and takes the newest checkpoint for one that has not.
          on_all_workers: all workers call this: where one of them cannot read the checkpoint, all raise.
          purpose: the method of the Trainer that needs weights from training, and warns if there are none.

        Raises:
          UsageError: the checkpoint doesn't fit.
          UnreadableCheckpointError: it cannot be read.
        """
        if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
            raise UsageError(
                f"checkpoint = {type(checkpoint).__name__}: expected the path of a checkpoint, 'best' or None; the data to "
                "evaluate on is Trainer.eval_datasets."
            )
        if self._loaded is not Loaded.RUN:
            self._foreign = checkpoint or self._foreign
        if checkpoint is None and self._loaded is Loaded.NOTHING and self._model_dir is not None:
            checkpoint = restore.latest(self._model_dir / CHECKPOINTS)
        if checkpoint == "best":
            if self._model_dir is None:
                raise UsageError(
                    "checkpoint = 'best': expected a Trainer with a model_dir; give the path of a checkpoint."
                )
            checkpoint = best_checkpoint(self._model_dir / CHECKPOINTS)
        own = self._variables() if checkpoint and self._loaded is Loaded.RUN else []
        values = [variable.numpy() for variable in own]
        try:
            if checkpoint is None:
                self._load_initial()
                self._warn_untrained(purpose)
            elif on_all_workers:
                self._restore_on_all_workers(str(checkpoint))
            else:
                self._restore(str(checkpoint))
            if self._loaded is Loaded.NOTHING:
                self._loaded = Loaded.WEIGHTS
            yield
        finally:
            for variable, value in zip(own, values, strict=True):
                variable.assign(value)

    def _restore_on_all_workers(self, checkpoint: str) -> None:
        """Restore on all workers or on none: the run that writes the checkpoints may delete one while they read it."""
        failure = None
        try:
            self._restore(checkpoint)
        except (restore.UnreadableCheckpointError, tf.errors.NotFoundError) as error:
            failure = error
        if workers.any_of(self._strategy, failure is not None)[0]:
            raise failure or restore.UnreadableCheckpointError(
                f"Another worker cannot read {checkpoint}: see its messages."
            )

    def _restore(self, checkpoint: str) -> None:
        if not tf.io.gfile.exists(f"{checkpoint}.index"):
            raise restore.UnreadableCheckpointError(
                f"checkpoint = {checkpoint!r}: expected the path of a checkpoint, without an ending, such as FOLDER/ckpt-500: "
                f"there is no {checkpoint}.index."
            )
        optimizer = self._averaged.optimizer
        state = ModelState(self._task, self._model, optimizer)
        restore.restore(tf.train.Checkpoint(step=self._progress.step_variable, **state.state()), checkpoint)
        state.after_restore()
        if optimizer is None and restore.has_averages(checkpoint):
            logging.warning(
                "%s has averages of the weights, which are not used: Trainer.optimizer has no use_ema=True.", checkpoint
            )

    def _warn_untrained(self, purpose: str) -> None:
        if purpose and not self._is_warned and self._progress.step == 0 and self._initial.initial_weights is None:
            self._is_warned = True
            folder = None if self._model_dir is None else self._model_dir / CHECKPOINTS
            why = "there is no model_dir" if folder is None else f"{folder} has no checkpoint"
            logging.warning("Trainer.%s: %s, and nothing was trained: the model has its initial weights.", purpose, why)

    def _load_initial(self) -> None:
        """Load the initial weights into a run that is at its start."""
        if self._loaded is Loaded.NOTHING and self._progress.step == 0:
            self._initial.load(self._model)

    def _variables(self) -> list[keras.Variable]:
        optimizer = self._averaged.optimizer
        owned = owned_variables(self._task)
        step = self._progress.step_variable
        kept = [] if optimizer is None else [v for each in by_loss(optimizer).values() for v in each.variables]
        return [*self._model.variables, *owned, step, *kept]

    def _check_same_step(self) -> None:
        """Check that all workers have restored the same step: without common storage, they would find others, or none."""
        steps = workers.exchange(self._strategy, str(self._progress.step))
        differing = [f"worker {i} at step {step}" for i, step in enumerate(steps) if step != steps[0]]
        if differing:
            raise UsageError(
                f"The workers continue from different checkpoints: the chief at step {steps[0]}, {', '.join(differing)}. "
                f"{self._model_dir} must be on storage that all workers share."
            )
