"""How far a run has come, as part of its checkpoints."""

from __future__ import annotations

import tensorflow as tf

from ..checkpointing.retention import Best
from ..checkpointing.state import Trackable


class Progress:
    """The steps done, the last step that was evaluated, and the best evaluation. A part of the checkpoint.

    A run that is stopped during an evaluation saves the step before it, and a rerun has to know that the evaluation is due.

    Args:
      best: the best evaluation so far.

    Attributes:
      step_variable: int64 scalar, the train steps done; the compiled loop advances it.
    """

    def __init__(self, best: Best):
        self.best = best
        self.step_variable: tf.Variable = tf.Variable(tf.zeros([], tf.int64), trainable=False, name="step")
        self._evaluated, self._last_due_checkpoint, self._rollbacks = (
            tf.Variable(tf.constant(start, tf.int64), trainable=False, name=name)
            for name, start in (("evaluated", -1), ("regular", -1), ("rollbacks", 0))
        )

    @property
    def step(self) -> int:
        """The train steps done."""
        return int(self.step_variable.numpy())

    @property
    def evaluated(self) -> int:
        """The last step that was evaluated; -1 if none was."""
        return int(self._evaluated.numpy())

    @evaluated.setter
    def evaluated(self, step: int) -> None:
        self._evaluated.assign(step)

    @property
    def last_due_checkpoint(self) -> int:
        """The step of the last checkpoint that was due, rather than made because the run was asked to stop; -1 if none was."""
        return int(self._last_due_checkpoint.numpy())

    @last_due_checkpoint.setter
    def last_due_checkpoint(self, step: int) -> None:
        self._last_due_checkpoint.assign(step)

    @property
    def rollbacks(self) -> int:
        """The number of rollbacks in a row."""
        return int(self._rollbacks.numpy())

    @rollbacks.setter
    def rollbacks(self, count: int) -> None:
        self._rollbacks.assign(count)

    def state(self) -> dict[str, Trackable]:
        """The step, and the rest under "progress"."""
        rest = tf.train.Checkpoint(
            evaluated=self._evaluated,
            regular=self._last_due_checkpoint,  # its name in the checkpoints of 0.1.0
            rollbacks=self._rollbacks,
            best=self.best.state(),
        )
        return {"step": self.step_variable, "progress": rest}

    def before_save(self) -> None:
        """Do nothing: everything is in variables."""

    def after_restore(self) -> None:
        """Forget the best of another metric."""
        self.best.after_restore()
