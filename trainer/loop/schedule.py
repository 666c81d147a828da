"""Which step does what: intervals, and how far an inner loop may run."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When to write, evaluate and save, in steps.

    Attributes:
      train_steps: where training ends.
      summary_interval: metrics are written every so many steps, and at the end.
      eval_interval: likewise evaluated.
      checkpoint_interval: likewise saved.
    """

    train_steps: int
    summary_interval: int
    eval_interval: int
    checkpoint_interval: int

    @property
    def longest_loop(self) -> int:
        """The most steps that may run without an event."""
        return min(self.train_steps, *self._intervals)

    def loop_steps(self, step: int, most: int) -> int:
        """How many steps to run from `step` on: up to the next event, at most `most`."""
        to_events = [interval - step % interval for interval in self._intervals]
        return min(most, self.train_steps - step, *to_events)

    def summarizes(self, step: int) -> bool:
        """Whether metrics are written after `step` steps."""
        return self._due(step, self.summary_interval)

    def evaluates(self, step: int) -> bool:
        """Whether the model is evaluated after `step` steps."""
        return self._due(step, self.eval_interval)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is written after `step` steps."""
        return self._due(step, self.checkpoint_interval)

    @property
    def _intervals(self) -> tuple[int, int, int]:
        return self.summary_interval, self.eval_interval, self.checkpoint_interval

    def _due(self, step: int, interval: int) -> bool:
        return step % interval == 0 or step == self.train_steps


_HOST_SHARE = 0.02  # of the time: longer loops would gain less than that
_POLL_SECONDS = 1.0  # a request to stop should not wait much longer
_MOST_STEPS = 512  # what is planned of the data in advance grows with it


class LoopLength:
    """A fixed number, or one that is found while the run goes on.

    With "auto" loops begin with one step, and are doubled until the host's share of the time is under 2%, or a loop takes
    about a second; and halved if one takes longer. What is computed does not depend on it.

    Args:
      steps_per_loop: a number, or "auto".
      longest: what the intervals allow.

    Attributes:
      steps: the most steps of the next loop.
      longest: the most steps of any.
    """

    def __init__(self, steps_per_loop: int | Literal["auto"], longest: int):
        self._adapts = steps_per_loop == "auto"
        self.longest = min(longest, _MOST_STEPS if self._adapts else steps_per_loop)
        self.steps = 1 if self._adapts else self.longest

    def wishes(self, steps: int, loop_seconds: float, host_seconds: float) -> tuple[bool, bool]:
        """After a loop: whether the next should be longer, and whether it should be shorter.

        Args:
          steps: how many it had: one that an event has cut short says nothing.
          loop_seconds: how long they took.
          host_seconds: how long the host was busy before and after.
        """
        if not self._adapts or steps < self.steps:
            return False, False
        host_share = host_seconds / (host_seconds + loop_seconds)
        longer = host_share > _HOST_SHARE and 2 * loop_seconds <= _POLL_SECONDS and self.steps < self.longest
        return longer, loop_seconds > _POLL_SECONDS and self.steps > 1

    def change(self, longer: bool, shorter: bool) -> None:
        """What all workers have agreed on."""
        if shorter:
            self.steps = max(1, self.steps // 2)
        elif longer:
            self.steps = min(self.longest, 2 * self.steps)
