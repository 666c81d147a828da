"""Which step does what: intervals, and how far an inner loop may run."""

from __future__ import annotations

import dataclasses


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
