"""Updates that are skipped because the loss or a gradient isn't finite."""

from __future__ import annotations

import tensorflow as tf

from ..checkpointing.state import Trackable


class Skips:
    """Counts skipped updates in the graph. A part of the checkpoint.

    Args:
      allowed: how many updates in a row may be skipped; 0 stops the run at the first.
    """

    def __init__(self, allowed: int):
        self.allowed: int = allowed
        self._in_a_row, self._since_summary, self._last = (
            tf.Variable(tf.constant(start, tf.int64), trainable=False, name=name)
            for name, start in (("skips_in_a_row", 0), ("skips_since_summary", 0), ("last_skip", -1))
        )

    def count(self, step: tf.Tensor, finite: tf.Tensor, updates: tf.Tensor) -> tf.Tensor:
        """Count a step; returns whether the run goes on.

        Args:
          step: its number.
          finite: whether its loss and gradient were finite; True in a step without an update.
          updates: whether it was to end with an update.
        """
        if not self.allowed:  # the first ends the run
            return finite
        skipped = tf.cast(updates & tf.logical_not(finite), tf.int64)
        in_a_row = self._in_a_row.read_value()
        in_a_row = tf.where(updates & finite, tf.zeros_like(in_a_row), in_a_row + skipped)
        self._in_a_row.assign(in_a_row)
        self._since_summary.assign_add(skipped)
        self._last.assign(tf.where(skipped > 0, step, self._last.read_value()))
        return in_a_row <= self.allowed

    @property
    def last(self) -> int:
        """The step of the last skipped update, counted from 0; -1 if there was none."""
        return int(self._last.numpy())

    def take(self) -> int:
        """Return the number of skipped updates since the last call."""
        found = int(self._since_summary.numpy())
        self._since_summary.assign(0)
        return found

    def state(self) -> dict[str, Trackable]:
        """The counts."""
        counts = {"in_a_row": self._in_a_row, "since_summary": self._since_summary, "last": self._last}
        return {"skips": tf.train.Checkpoint(**counts)}

    def before_save(self) -> None:
        """Do nothing: the counts are in their variables."""

    def after_restore(self) -> None:
        """Forget earlier skips where none is allowed any more."""
        if not self.allowed:
            self._in_a_row.assign(0)
            self._since_summary.assign(0)
