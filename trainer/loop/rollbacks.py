"""Going back to the last checkpoint's weights when a step is not finite."""

from __future__ import annotations

import tensorflow as tf
from absl import logging

from ..checkpointing.folder import CheckpointFolder
from ..distribution import workers
from .training import Training


class Rollbacks:
    """Goes back, a limited number of times in a row.

    The weights before a step that is not finite are often spoilt already. So they are not kept: those of the last checkpoint
    that was due are taken, with its optimizer, and training goes on with the batch after the bad one. Steps and data do not
    go back. A checkpoint that was made because the run was stopped does not count, or stopping it would change what comes out.

    Args:
      strategy: whose workers go back together.
      folder: of the checkpoints.
      allowed: how often, until an update is finite again; 0 does not go back at all.
      accumulation: steps an update.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, folder: CheckpointFolder | None, allowed: int, accumulation: int
    ):
        self.allowed = allowed
        self._strategy = strategy
        self._folder = folder
        self._accumulation = accumulation
        self._since: int | None = None  # the step from which on an update has to be finite; None where none has

    def go_back(self, training: Training) -> None:
        """Goes back; all checkpoints are written.

        Raises:
          NonFiniteError: it went back too often already.
        """
        what, progress = training.not_finite(), training.progress
        if progress.rollbacks >= self.allowed:
            raise training.non_finite_error(what)
        progress.rollbacks += 1
        step = self._agreed_target(training)
        training.roll_back(str(self._folder.prefix(step)))
        self._since = training.step
        logging.warning("%s Rolled back to the weights of step %d; that batch is left out.", what, step)

    def resume(self, training: Training) -> None:
        """At the start of a run: goes on counting."""
        self._since = training.step if training.progress.rollbacks else None

    def forgive(self, training: Training, step: int) -> None:
        """After finite steps up to `step`: if an update was among them, starts to count anew."""
        if self._since is not None and step // self._accumulation > self._since // self._accumulation:
            self._since, training.progress.rollbacks = None, 0

    def _agreed_target(self, training: Training) -> int:
        mine = self._target(training) if workers.is_chief(self._strategy) else None
        return int(workers.from_chief(self._strategy, mine))

    def _target(self, training: Training) -> str:
        """The last checkpoint that was due, or if that is damaged, the newest before it that is not."""
        due = training.progress.regular
        for step in sorted((step for step in self._folder.steps() if step <= due), reverse=True):
            if (damage := self._folder.damage(step)) is None:
                return str(step)
            logging.warning(
                "The checkpoint %s is damaged: %s. The one before it is tried.", self._folder.prefix(step), damage
            )
        raise training.non_finite_error(f"{training.not_finite()} There is no checkpoint to go back to.")
