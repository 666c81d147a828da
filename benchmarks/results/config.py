"""What is measured of a bundled config: its figures, their goals, and what they are compared with on the same data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from .run import Run


class Goal(NamedTuple):
    """A limit on a figure.

    Attributes:
      sign: how the figure must compare with the limit.
      limit: a number; or, with `of_reference`, how many times the reference.
      of_reference: the limit depends on what the reference reaches in the same run.
    """

    sign: Literal["<=", ">="]
    limit: float = 1.0
    of_reference: bool = False

    def missed(self, figure: float, reference: float | None) -> bool:
        """Return whether a figure misses the goal; one without its reference cannot."""
        if self.of_reference and reference is None:
            return False
        limit = self.limit * reference if self.of_reference and reference is not None else self.limit
        return not (figure <= limit if self.sign == "<=" else figure >= limit)  # NaN misses any

    @property
    def text(self) -> str:
        """The text that the page shows."""
        if not self.of_reference:
            return f"{self.sign} {self.limit:g}"
        return f"{self.sign} " + ("the reference" if self.limit == 1 else f"{self.limit:g} of the reference")


BELOW, ABOVE = Goal("<=", of_reference=True), Goal(">=", of_reference=True)


class Reference(NamedTuple):
    """A figure that another is compared with.

    Attributes:
      what: such as "PCA with 20 components".
      figure: the same quantity, computed on the same data.
    """

    what: str
    figure: float


class Figure(NamedTuple):
    """One line of the table.

    Attributes:
      what: the quantity, such as "test accuracy".
      measure: the trained run -> its value; None where it cannot be measured here, such as without PyTorch.
      goal: that the exit code depends on; None if it is only reported.
      reference: the run -> what to compare with, computed now; None where it cannot be; or no function.
      digits: after the decimal point.
    """

    what: str
    measure: Callable[[Run], float | None]
    goal: Goal | None = None
    reference: Callable[[Run], Reference | None] | None = None
    digits: int = 4


class Config(NamedTuple):
    """A bundled config and what is measured of it.

    Attributes:
      name: of the file in gin/, without ".gin".
      task: what it does, in a few words.
      look_at: what to look at it for, in Markdown: one paragraph.
      figures: the lines of the table.
      curve: the metric of the picture.
      parameters: bindings of the command line, such as "Trainer.train_steps=500".
      prepare: makes the data that the config needs in a folder, and returns more bindings; None if it needs none.
    """

    name: str
    task: str
    look_at: str
    figures: tuple[Figure, ...]
    curve: str = "loss"
    parameters: tuple[str, ...] = ()
    prepare: Callable[..., tuple[str, ...]] | None = None


def last(metric: str, split: str = "eval") -> Callable[[Run], float]:
    """Return a measure: the last value of a metric in the run's metrics.jsonl."""
    return lambda run: run.points(metric, split)[-1][1]
