"""What a writer is given, and what a writer is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
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
      times: metric path -> number, of the run itself: how fast it was and where its time went. Files list them among the
        metrics, without a count; the console and the results of an evaluation leave them out.
    """

    step: int
    split: str
    metrics: dict[str, float | np.ndarray]
    counts: dict[str, float]
    times: dict[str, float] = field(default_factory=dict)


class Writer(Protocol):
    """Takes summaries and puts them somewhere. An error is raised, never swallowed."""

    def write(self, summary: Summary) -> None:
        """Write one summary."""
        ...

    def flush(self) -> None:
        """Return once readers can see everything that was written."""
        ...

    def close(self) -> None:
        """Flush and release everything. A closed writer must not be written to again."""
        ...


def scalars(summary: Summary) -> dict[str, float]:
    """Return the metrics that are single numbers, as Python floats, without the arrays."""
    return {path: float(value) for path, value in summary.metrics.items() if is_scalar(value)}


def dump(summaries: Sequence[Summary]) -> bytes:
    """Return the summaries as JSON, from which `load` makes them again; floats keep all their digits."""
    return json.dumps(
        [dataclasses.asdict(summary) for summary in summaries], default=lambda value: value.tolist()
    ).encode()


def load(text: bytes) -> list[Summary]:
    """Return what `dump` was given; arrays are float64 or int64."""
    return [
        Summary(**{**fields, "metrics": {path: _value(value) for path, value in fields["metrics"].items()}})
        for fields in json.loads(text)
    ]


def _value(value: list | float) -> float | np.ndarray:
    return np.asarray(value) if isinstance(value, list) else value


def is_scalar(value: float | np.ndarray) -> bool:
    """Return whether `value` is a single number."""
    return isinstance(value, float) or np.ndim(value) == 0  # NumPy takes a microsecond, and there are many values.
