"""Updates that are skipped because the loss or a gradient isn't finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..checkpointing.state import Trackable
from ..task import ONE_LOSS


def all_of(losses: tf.Tensor) -> tf.Tensor:
    """Return whether it holds for all losses, given a bool for one loss, or one for each of several."""
    return tf.reduce_all(losses) if losses.shape.rank else losses


def any_of(losses: tf.Tensor) -> tf.Tensor:
    """Return whether it holds for any loss, given a bool for one loss, or one for each of several."""
    return tf.reduce_any(losses) if losses.shape.rank else losses


class Skips:
    """Counts skipped updates in the graph, those of each loss for itself. A part of the checkpoint.

    Args:
      allowed: how many updates of a loss in a row may be skipped; 0 stops the run at the first.
      names: of the losses.
    """

    def __init__(self, allowed: int, names: Sequence[str] = (ONE_LOSS,)):
        self.allowed: int = allowed
        self.shape: tuple[int, ...] = () if len(names) == 1 else (len(names),)
        self._names = names
        self._in_a_row, self._since_summary, self._last = (
            tf.Variable(tf.fill(shape, tf.constant(start, tf.int64)), trainable=False, name=name)
            for name, start, shape in (
                ("skips_in_a_row", 0, self.shape),
                ("skips_since_summary", 0, self.shape),
                ("last_skip", -1, ()),
            )
        )

    def tolerated(self) -> tf.Tensor:
        """Return whether the run goes on if a loss's next update is skipped: bool, (losses,), or () for one loss."""
        return self._in_a_row.read_value() < self.allowed if self.allowed else tf.zeros(self.shape, tf.bool)

    def count(self, step: tf.Tensor, finite: tf.Tensor, updates: tf.Tensor) -> tf.Tensor:
        """Count a step; returns whether the run goes on.

        Args:
          step: its number.
          finite: bool, (losses,), or () for one loss: whether it and its gradient were; True in a step without an update of it.
          updates: bool, in that shape or a scalar for all: whether the step was to end with an update of it.
        """
        if not self.allowed:  # the first ends the run
            return all_of(finite)
        skipped = tf.cast(updates & tf.logical_not(finite), tf.int64)
        in_a_row = self._in_a_row.read_value()
        in_a_row = tf.where(updates & finite, tf.zeros_like(in_a_row), in_a_row + skipped)
        self._in_a_row.assign(in_a_row)
        self._since_summary.assign_add(skipped)
        self._last.assign(tf.where(any_of(skipped > 0), step, self._last.read_value()))
        return all_of(in_a_row <= self.allowed)

    @property
    def last(self) -> int:
        """The step of the last skipped update, counted from 0; -1 if there was none."""
        return int(self._last.numpy())

    def take(self) -> dict[str, int]:
        """Return name of a loss -> the number of its skipped updates since the last call."""
        found = dict(zip(self._names, map(int, np.ravel(self._since_summary.numpy())), strict=True))
        self._since_summary.assign(tf.zeros_like(self._since_summary))
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
            for count in (self._in_a_row, self._since_summary):
                count.assign(tf.zeros_like(count))
