"""What a writer is given, and what a writer is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

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


@dataclass(frozen=True)
class RunDescription:
    """The description of a run, for a writer that shows runs side by side.

    Attributes:
      folder: the run's, with `config.gin`, `operative_config.gin` and `run.json` if the run has a config. Its name is the run's.
      step: the run goes on from here; 0 begins it. Points after this step are to be dropped: they come again.
      hparams: binding -> value, of those that differ from the defaults.
      texts: title -> Markdown: the config, the command line, the model.
    """

    folder: Path
    step: int
    hparams: Mapping[str, bool | int | float | str]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Attributes:
      state: "done": all steps; "stopped": an action ended it; "interrupted": it was asked to stop, and is to go on later; or
        "failed". A run that is killed has no ending.
      reason: as in `run.json`.
    """

    state: Literal["done", "stopped", "interrupted", "failed"]
    reason: str


class SummaryWriter(Protocol):
    """Takes summaries and puts them somewhere. An error is raised, never swallowed.

    A writer may have two more methods: `begin(run: RunDescription)`, called before the first summary of each start of a run, and
    `end(ending: Ending)`, called after the last one and before `close`.
    """

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
