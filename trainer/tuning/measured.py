"""What was measured of a setting, beside the config as given, and what follows from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import median

from .settings import Setting

WORTH = 0.95  # of the time: what gains less is not advised
_ENOUGH_TO_DROP_ENDS = 8  # ratios: from so many on, the second and the last but one hold the median with 93% and more


@dataclasses.dataclass(frozen=True)
class Lap:
    """A piece of training."""

    seconds: float
    steps: int

    @property
    def step(self) -> float:
        """Seconds per step."""
        return self.seconds / self.steps


@dataclasses.dataclass(frozen=True)
class Start:
    """The start of a process, before its laps.

    Attributes:
      first_step: seconds from the first look at the data to the end of the first step: reading, building, tracing, compiling.
      compiling: those of them that tracing, compiling and the first step itself took.
      warm_up: the laps that do not count.
    """

    first_step: float
    compiling: float
    warm_up: Sequence[Lap]

    def cost(self, step: float) -> float:
        """Return the seconds that the start takes besides its steps, which take `step` each; what compiles later is in it."""
        later = sum(lap.seconds - lap.steps * step for lap in self.warm_up)
        return self.first_step + max(0.0, later)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A setting's times.

    Attributes:
      setting: the setting.
      start: what came before the laps.
      step: seconds per step.
      examples_per_step: of an average batch.
      memory: the most resident memory of the process, in bytes.
      ratios: its time per example as part of that of the config as given, of each pair of laps.
    """

    setting: Setting
    start: Start
    step: float
    examples_per_step: float
    memory: int
    ratios: tuple[float, ...] = (1.0,)

    @property
    def ratio(self) -> float:
        """Its time per example as part of that of the config as given."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The bounds of the ratio; beyond that, it is noise."""
        ordered = sorted(self.ratios)
        ends = 1 if len(ordered) >= _ENOUGH_TO_DROP_ENDS else 0
        return ordered[ends], ordered[-1 - ends]

    @property
    def is_faster(self) -> bool:
        """True if it gains more than noise, and enough to be worth a line in the config."""
        return self.ratio <= WORTH and self.spread[1] < 1

    @property
    def examples_per_second(self) -> float:
        """Examples per second."""
        return self.examples_per_step / self.step

    @property
    def cost(self) -> float:
        """Seconds that the start takes besides its steps."""
        return self.start.cost(self.step)

    def pays_after(self, given: Measured) -> int | None:
        """Return after how many of its steps it has gained what its start took longer; None for never."""
        saved = given.step * self.examples_per_step / given.examples_per_step - self.step  # per step
        if saved <= 0:
            return None
        return max(0, math.ceil((self.cost - given.cost) / saved))

    def seconds_for(self, steps: int, given: Measured) -> float:
        """Return the time of a run of as many examples as so many steps of the config as given have."""
        return self.cost + self.step * steps * given.examples_per_step / self.examples_per_step


def paired(
    setting: Setting, start: Start, pairs: Sequence[tuple[Lap, Lap]], given: Measured, examples: float, memory: int
) -> Measured:
    """Return what pairs of laps, first that of the config as given, say of a setting.

    The time per step is that of the config as given, times the median ratio: the machine may have become slower since.
    """
    per_example = given.examples_per_step / examples
    ratios = tuple(lap.step / beside.step * per_example for beside, lap in pairs)
    step = given.step * median(ratios) / per_example
    return Measured(setting, start, step, examples, memory, ratios)
