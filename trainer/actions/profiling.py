"""The action that profiles some steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gin
import tensorflow as tf
from absl import logging

from ...data.checks import whole_number
from ...metrics.errors import UsageError
from ..distribution import workers
from .writing import warn_without_folder

if TYPE_CHECKING:
    from ..trainer import Trainer


@gin.register(module="tallyloop")
class Profile:
    """Profiles some train steps, for TensorBoard's profiler (`pip install tensorboard-plugin-profile`).

    It writes `train/plugins/profile/` in the model_dir, on the chief. Each of these steps is an inner loop of its own, so
    that the profiler tells them apart: they take a little longer than the others. The results are the same.

    Args:
      after: the number of steps done before the first one that is profiled; by then, the loop is compiled and the data flows.
      steps: how many; a few are enough, as a profile has every operation of every step.

    Raises:
      UsageError: an argument is wrong; and, before the first step, that the run ends before.
    """

    def __init__(self, after: int = 20, steps: int = 5):
        self._first = whole_number("Profile.after", after, least=1)
        self._last = self._first + whole_number("Profile.steps", steps, least=1)
        self.steps: range = range(self._first, self._last + 1)
        self._step: tf.profiler.experimental.Trace | None = None  # that is running
        self._runs = False

    def check(self, trainer: Trainer) -> None:
        """Check that the run has these steps.

        Raises:
          UsageError: it is shorter.
        """
        if self._last > trainer.train_steps:
            raise UsageError(
                f"Profile.after = {self._first}, Profile.steps = {self._last - self._first}: expected steps up to "
                f"Trainer.train_steps = {trainer.train_steps}: lower them."
            )

    def start(self, trainer: Trainer) -> None:
        """Begin where a rerun goes on at the first step; say so where it goes on later."""
        warn_without_folder(trainer, "Profile")
        if trainer.step == self._first:
            self.reached(trainer)
        elif trainer.step > self._first:
            logging.info("Profile: the run goes on after step %d, which was to be the first one.", self._first)

    def reached(self, trainer: Trainer) -> None:
        """Begin, go on to the next step, or end."""
        if trainer.model_dir is None or not workers.is_chief(trainer.strategy):
            return
        if trainer.step == self._first:
            tf.profiler.experimental.start(str(trainer.model_dir / "train"))
            self._runs = True
        if not self._runs:
            return
        if trainer.step == self._last:
            self.end(trainer)
        else:
            self._leave_step()
            step = tf.profiler.experimental.Trace("train", step_num=trainer.step, _r=1)
            step.__enter__()
            self._step = step

    def end(self, trainer: Trainer) -> None:
        """Write the profile, if one is being made."""
        self._leave_step()
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()

    def _leave_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None
