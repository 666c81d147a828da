"""What a run has done besides its train steps, as part of its checkpoints."""

from __future__ import annotations

import tensorflow as tf

from ..checkpointing.retention import Best


class Progress:
    """Which step was evaluated last, and the best evaluation.

    A run that is stopped in an evaluation saves the step before it, and a rerun has to know that the evaluation is due.

    Args:
      best: the best evaluation so far.
    """

    def __init__(self, best: Best):
        self.best = best
        self._evaluated, self._regular, self._rollbacks = (
            tf.Variable(start, trainable=False, dtype=tf.int64, name=name)
            for name, start in (("evaluated", -1), ("regular", -1), ("rollbacks", 0))
        )

    @property
    def evaluated(self) -> int:
        """The step that was evaluated last; -1 if none was."""
        return int(self._evaluated.numpy())

    @evaluated.setter
    def evaluated(self, step: int) -> None:
        self._evaluated.assign(step)

    @property
    def regular(self) -> int:
        """The step of the last checkpoint that was due, and not made because the run was asked to stop; -1 if none was."""
        return int(self._regular.numpy())

    @regular.setter
    def regular(self, step: int) -> None:
        self._regular.assign(step)

    @property
    def rollbacks(self) -> int:
        """How often in a row the run went back to the weights of a checkpoint."""
        return int(self._rollbacks.numpy())

    @rollbacks.setter
    def rollbacks(self, count: int) -> None:
        self._rollbacks.assign(count)

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds of it."""
        return tf.train.Checkpoint(
            evaluated=self._evaluated, regular=self._regular, rollbacks=self._rollbacks, best=self.best.state()
        )
