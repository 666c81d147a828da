"""What a study remembers of its trials, wherever it writes that."""

from __future__ import annotations

import ast
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from ...metrics.atomic_file import replace_file
from ...metrics.dashboard.dashboard import Dashboard
from ...metrics.writers.better import Mode
from ...metrics.writers.summary import Ending, RunDescription
from ..report.folders import TRIAL
from ..report.run import short

Outcome = Literal["done", "pruned", "failed"]


@dataclasses.dataclass(frozen=True)
class Trial:
    """One choice of values: a run with its own folder.

    Attributes:
      number: from 0.
      values: parameter -> text of its value, as gin reads it.
      outcome: how it ended; None while it is under way.
      value: the best value of the study's metric, where it is done.
      reason: why it failed, or was pruned.
    """

    number: int
    values: Mapping[str, str]
    outcome: Outcome | None = None
    value: float | None = None
    reason: str = ""

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f"trial-{self.number:04d}"

    @property
    def choice(self) -> str:
        """Its values, in a line."""
        return " ".join(f"{name}={text}" for name, text in self.values.items())


class Book(Protocol):
    """Remembers trials through a kill at any moment: neither are any lost, nor is one begun twice."""

    def trials(self) -> list[Trial]:
        """Return all trials so far, in order of their numbers."""
        ...

    def next(self) -> Trial | None:
        """Begin another trial; return None if there are to be no more."""
        ...

    def report(self, number: int, points: Sequence[tuple[int, float]]) -> bool:
        """Note the metric at some steps, those known already included; return whether the trial had better be ended."""
        ...

    def finish(self, number: int, outcome: Outcome, value: float | None, reason: str) -> None:
        """Note how a trial ended."""
        ...


def best(trials: Sequence[Trial], mode: Mode) -> Trial | None:
    """Return the best of the trials that are done, the first of equals."""
    done = [trial for trial in trials if trial.outcome == "done" and trial.value is not None]
    sign = -1 if mode == "max" else 1
    return min(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


def label(folder: Path, study: str, trial: Trial) -> None:
    """Write into a trial's folder which trial of which study it is, for whoever finds the folder."""
    fields = {
        "study": study,
        "number": trial.number,
        "values": dict(trial.values),
        "state": trial.outcome or "running",
        "value": trial.value,
        "reason": trial.reason,
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / TRIAL, [json.dumps(fields, indent=2).encode() + b"\n"])


def add_row(folder: Path, bindings: Sequence[str], reason: str) -> None:
    """Give a trial that failed before it could make its row in HParams one, with what was chosen and why it failed.

    Args:
      folder: of the trial.
      bindings: what was chosen, NAME=TEXT.
      reason: why it failed.
    """
    if any(folder.glob("*tfevents*")):
        return
    chosen = {short(name): _plain(text) for name, _, text in (binding.partition("=") for binding in bindings)}
    board = Dashboard(folder)  # loads TensorBoard once it writes
    board.begin(RunDescription(folder, 0, chosen))
    board.end(Ending("failed", reason))


def _plain(text: str) -> bool | int | float | str:
    """Return a value of a config as a run's own row has it: a number, a bool or a string as such, the rest as text."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text.removeprefix("@").removesuffix("()")
    return value if isinstance(value, bool | int | float | str) else text
