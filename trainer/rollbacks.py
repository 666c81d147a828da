"""Going back to the last checkpoint's weights when a step is not finite."""

from __future__ import annotations

import tensorflow as tf
from absl import logging

from . import workers
from .checkpoint_folder import CheckpointFolder
from .errors import NonFiniteError
from .training import Training


class Rollbacks:
    """Goes back, a limited number of times in a row.

    The weights before a step that is not finite are often spoilt already. So they are not kept: those of the last checkpoint
    are taken, with its optimizer, and training goes on with the batch after the bad one. Steps and data do not go back.

    Args:
      strategy: whose workers go back together.
      folder: of the checkpoints.
      allowed: how often, before the next regular checkpoint is reached; 0 does not go back at all.
    """

    def __init__(self, strategy: tf.distribute.Strategy, folder: CheckpointFolder | None, allowed: int):
        self.allowed = allowed
        self._strategy = strategy
        self._folder = folder
        self._in_a_row = 0

    def go_back(self, training: Training, error: NonFiniteError) -> None:
        """Goes back; all checkpoints are written.

        Raises:
          NonFiniteError: `error`, if it went back too often already.
        """
        if self._in_a_row >= self.allowed:
            raise error
        self._in_a_row += 1
        chief = workers.is_chief(self._strategy)
        step = int(workers.from_chief(self._strategy, str(self._folder.steps()[-1]) if chief else None))
        training.roll_back(str(self._folder.prefix(step)))
        logging.warning("%s Rolled back to the weights of step %d; that batch is left out.", error, step)

    def forgive(self) -> None:
        """Starts to count anew how often in a row."""
        self._in_a_row = 0
