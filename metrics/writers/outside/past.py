"""What the writers of other programs share: the run before its restart, and the programs that have to be installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ...atomic_file import replace_file
from ...errors import UsageError
from ..run_files import ALL, METRICS
from ..summary import RunDescription, Summary, scalars


def numbers(summary: Summary) -> dict[str, float]:
    """Return metric path -> number of all that is a single number, the run's own times included."""
    return scalars(summary) | summary.times


def past(run: RunDescription) -> Iterator[Summary]:
    """Yield the summaries of a run up to the step that it goes on from, in their order, from its metrics.jsonl.

    It has all of them, also those that a killed process could not pass on. Arrays are left out.
    """
    path = run.folder / METRICS
    for line in path.read_bytes().splitlines() if run.step and path.exists() else ():
        try:
            found = json.loads(line)
            step, split = int(found["step"]), str(found["split"])
            values: dict[str, float | np.ndarray] = {
                name: float(value) for name, value in found["metrics"].items() if not isinstance(value, list)
            }
        except (ValueError, KeyError, TypeError):  # torn
            continue
        if step <= run.step:
            yield Summary(step, split, values, {})


def files(run: RunDescription) -> list[Path]:
    """Return the files of the run's folder that describe it, as far as they are there."""
    return [path for path in (run.folder / name for name in ALL) if path.exists()]


def remembered(path: Path) -> dict[str, str]:
    """Return what `remember` has written; nothing if it has not, or if that is damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(path: Path, facts: Mapping[str, str]) -> None:
    """Write names and texts to a file, whole or not at all."""
    replace_file(path, [json.dumps(dict(facts)).encode() + b"\n"])


def needs(owner: str, module: str, extra: str) -> None:
    """Check that a library is installed, without importing it.

    Raises:
      UsageError: it isn't.
    """
    if importlib.util.find_spec(module) is None:
        raise UsageError(f'{owner}: expected {module} to be installed, as with: pip install "tallyloop[{extra}]"')
