"""How many steps run in the graph before the host looks again."""

from __future__ import annotations

from typing import Literal

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
