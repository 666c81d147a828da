"""What a writer is given, and what a writer is."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Summary:
    """The finished metrics of one stretch of training or of one evaluation.

    Attributes:
      step: the training step that the numbers belong to.
      split: "train", "eval", or "eval/NAME" for one of several eval sets.
      metrics: metric path -> value: a number, or an array for a metric such as a confusion matrix.
      counts: metric path -> the number of examples, or the weight, behind the value.
      times: likewise path -> number, of the run itself: how fast it was, and where its time went. Files have them among the
        metrics, without a count; the console and the results of an evaluation do not.
    """

    step: int
    split: str
    metrics: dict[str, float | np.ndarray]
    counts: dict[str, float]
    times: dict[str, float] = field(default_factory=dict)


class Writer(Protocol):
    """Takes summaries and puts them somewhere. An error is raised, never swallowed."""

    def write(self, summary: Summary) -> None:
        """Takes one summary."""
        ...

    def flush(self) -> None:
        """Returns when all that was written is where readers can see it."""
        ...

    def close(self) -> None:
        """Flushes and lets go of everything. A closed writer is not written to again."""
        ...


def scalars(summary: Summary) -> dict[str, float]:
    """The metrics that are single numbers, as Python floats, without the arrays."""
    return {path: float(value) for path, value in summary.metrics.items() if is_scalar(value)}


def is_scalar(value: float | np.ndarray) -> bool:
    """Whether it is one number."""
    return isinstance(value, float) or np.ndim(value) == 0  # NumPy takes a microsecond, and there are many
