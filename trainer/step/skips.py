"""Updates that are left out because the loss or a gradient is not finite."""

from __future__ import annotations

import tensorflow as tf


class Skips:
    """Counts them, in the graph.

    Args:
      allowed: how many in a row are; with 0 the first one stops the run.
    """

    def __init__(self, allowed: int):
        self.allowed = allowed
        self._in_a_row, self._since_summary, self._last = (
            tf.Variable(start, trainable=False, dtype=tf.int64, name=name)
            for name, start in (("skips_in_a_row", 0), ("skips_since_summary", 0), ("last_skip", -1))
        )

    def count(self, step: tf.Tensor, finite: tf.Tensor, updates: tf.Tensor) -> tf.Tensor:
        """Counts a step; returns whether the run goes on.

        Args:
          step: its number.
          finite: whether it was; True in a step without an update.
          updates: whether it was to end with an update.
        """
        if not self.allowed:  # the first ends the run
            return finite
        skipped = tf.cast(updates & ~finite, tf.int64)
        in_a_row = self._in_a_row.read_value()
        in_a_row = tf.where(updates & finite, tf.zeros_like(in_a_row), in_a_row + skipped)
        self._in_a_row.assign(in_a_row)
        self._since_summary.assign_add(skipped)
        self._last.assign(tf.where(skipped > 0, step, self._last.read_value()))
        return in_a_row <= self.allowed

    @property
    def last(self) -> int:
        """The step of the last one, counted from 0; -1 if there was none."""
        return int(self._last.numpy())

    def take(self) -> int:
        """Returns how many there were since the last call."""
        found = int(self._since_summary.numpy())
        self._since_summary.assign(0)
        return found

    def restored(self) -> None:
        """After a restore: where none is allowed, none is counted, and those of before are forgotten."""
        if not self.allowed:
            self._in_a_row.assign(0)
            self._since_summary.assign(0)

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds of them."""
        return tf.train.Checkpoint(in_a_row=self._in_a_row, since_summary=self._since_summary, last=self._last)
