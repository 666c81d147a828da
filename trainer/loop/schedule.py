"""Which step does what: intervals, and how many steps run in the graph before the host looks again."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ...data import Input
from ...metrics.errors import UsageError

_DEFAULT_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class TrainLength:
    """The length of a training, in steps or in epochs.

    Attributes:
      train_steps: `Trainer.train_steps`.
      train_epochs: `Trainer.train_epochs`.
    """

    train_steps: int | None
    train_epochs: int | None

    @property
    def doubled(self) -> tuple[str, int]:
        """The argument that says how long, and twice its value."""
        if self.train_epochs is not None:
            return "train_epochs", 2 * self.train_epochs
        return "train_steps", 2 * (self.train_steps or _DEFAULT_STEPS)

    def steps(self, dataset: Input | None) -> int:
        """Return the step at which training on `dataset` ends.

        Raises:
          UsageError: the length of an epoch isn't known.
        """
        if self.train_epochs is None:
            return self.train_steps or _DEFAULT_STEPS
        batches = None if dataset is None else dataset.batches_per_epoch
        if batches is None:
            raise UsageError(
                f"Trainer.train_epochs = {self.train_epochs}: expected a train_dataset of arrays or of rows by number, whose "
                f"length is known, got {'none' if dataset is None else 'a stream'}: bind Trainer.train_steps instead."
            )
        return self.train_epochs * batches


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The intervals of writing, evaluating and saving, in steps.

    Attributes:
      train_steps: the step at which training ends.
      summary_interval: steps between summaries; there is one at the end, too.
      eval_interval: likewise, steps between evaluations.
      checkpoint_interval: likewise, steps between checkpoints.
    """

    train_steps: int
    summary_interval: int
    eval_interval: int
    checkpoint_interval: int

    @property
    def longest_loop(self) -> int:
        """The most steps between two events."""
        return min(self.train_steps, *self._intervals)

    def loop_steps(self, step: int, most: int) -> int:
        """Return how many steps to run from `step` on: up to the next event, at most `most`."""
        to_events = [interval - step % interval for interval in self._intervals]
        return min(most, self.train_steps - step, *to_events)

    def summarizes(self, step: int) -> bool:
        """Return whether metrics are written after `step` steps."""
        return self._due(step, self.summary_interval)

    def evaluates(self, step: int) -> bool:
        """Return whether the model is evaluated after `step` steps."""
        return self._due(step, self.eval_interval)

    def saves(self, step: int) -> bool:
        """Return whether a checkpoint is written after `step` steps."""
        return self._due(step, self.checkpoint_interval)

    @property
    def _intervals(self) -> tuple[int, int, int]:
        return self.summary_interval, self.eval_interval, self.checkpoint_interval

    def _due(self, step: int, interval: int) -> bool:
        return step % interval == 0 or step == self.train_steps


_HOST_SHARE = 0.02  # of the time: longer loops would gain less
_POLL_SECONDS = 1.0  # a request to stop should not wait much longer
_MOST_STEPS = 512  # the data planned in advance grows with it


class LoopLength:
    """A fixed number of steps per loop, or one that is found during the run.

    With "auto", loops begin with one step and are doubled until the host's share of the time is under 2%, or a loop takes
    about a second; they are halved if one takes longer. The results don't depend on it.

    Args:
      steps_per_loop: a number, or "auto".
      longest: the most steps that the intervals allow.

    Attributes:
      steps: the most steps of the next loop.
      longest: the most steps of any loop.
    """

    def __init__(self, steps_per_loop: int | Literal["auto"], longest: int):
        self._adapts = steps_per_loop == "auto"
        self.longest: int = min(longest, _MOST_STEPS if steps_per_loop == "auto" else steps_per_loop)
        self.steps: int = 1 if self._adapts else self.longest

    def wishes(self, steps: int, loop_seconds: float, host_seconds: float) -> tuple[bool, bool]:
        """After a loop, return whether the next one should be longer, and whether it should be shorter.

        Args:
          steps: its number of steps; a loop that an event cut short says nothing.
          loop_seconds: how long they took.
          host_seconds: how long the host was busy before and after.
        """
        if not self._adapts or steps < self.steps:
            return False, False
        host_share = host_seconds / (host_seconds + loop_seconds)
        longer = host_share > _HOST_SHARE and 2 * loop_seconds <= _POLL_SECONDS and self.steps < self.longest
        return longer, loop_seconds > _POLL_SECONDS and self.steps > 1

    def change(self, longer: bool, shorter: bool) -> None:
        """Change the length as all workers have agreed."""
        if shorter:
            self.steps = max(1, self.steps // 2)
        elif longer:
            self.steps = min(self.longest, 2 * self.steps)
