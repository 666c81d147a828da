"""What a run has done besides its train steps, as part of its checkpoints."""

from __future__ import annotations

import tensorflow as tf

from .retention import Best


class Progress:
    """Which step was evaluated last, and the best evaluation.

    A run that is stopped in an evaluation saves the step before it, and a rerun has to know that the evaluation is due.

    Args:
      best: the best evaluation so far.
    """

    def __init__(self, best: Best):
        self.best = best
        self._evaluated = tf.Variable(-1, trainable=False, dtype=tf.int64, name="evaluated")

    @property
    def evaluated(self) -> int:
        """The step that was evaluated last; -1 if none was."""
        return int(self._evaluated.numpy())

    @evaluated.setter
    def evaluated(self, step: int) -> None:
        self._evaluated.assign(step)

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds of it."""
        return tf.train.Checkpoint(evaluated=self._evaluated, best=self.best.state())
