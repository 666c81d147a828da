"""Which run folders the arguments of the report name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...metrics.errors import UsageError, did_you_mean
from ...metrics.writers.run_files import METRICS, RECORD

TRIAL = "trial.json"  # what a study says about a trial, in its folder
_DEEPEST = 4


def is_run(folder: Path) -> bool:
    """Return whether a run has written to this folder, or a study has for one that may have been refused."""
    return any((folder / name).is_file() for name in (RECORD, METRICS, TRIAL))


def find(arguments: Sequence[str]) -> dict[str, Path]:
    """Return name -> folder of each run that the arguments name, without repetition.

    Args:
      arguments: run folders, folders with runs at any depth below them, and glob patterns of both.

    Raises:
      UsageError: one names no run.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        found.update(dict.fromkeys(_runs(argument)))
    return dict(zip(_names(found), found, strict=True))


def _runs(argument: str) -> list[Path]:
    if Path(argument).exists():
        return _runs_of(argument, Path(argument))
    if not glob.has_magic(argument):
        raise UsageError(_missing(argument))
    matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]
    runs = [run for match in matches if match.is_dir() for run in _below(match, _DEEPEST)]
    if not runs:
        raise UsageError(f"RUN = {argument!r}: expected a pattern that matches runs, got one that matches none.")
    return runs


def _runs_of(argument: str, path: Path) -> list[Path]:
    if not path.is_dir():
        raise UsageError(f"RUN = {argument!r}: expected the folder of a run, got a file; did you mean {path.parent}?")
    runs = list(_below(path, _DEEPEST))
    if not runs:
        holds = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
        inside = f"; its parent {path.parent} is a run" if is_run(path.parent) else ""
        raise UsageError(
            f"RUN = {argument!r}: expected the folder of a run (with {RECORD} or {METRICS}), or one with runs below it, got one "
            f"with {holds}{inside}."
        )
    return runs


def _below(folder: Path, depth: int) -> Iterable[Path]:
    """Yield the runs in a folder, in order of their names; a run holds no others."""
    if is_run(folder):
        yield folder
    elif depth:
        with os.scandir(folder) as entries:
            folders = sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
        for name in folders:
            yield from _below(folder / name, depth - 1)


def _missing(argument: str) -> str:
    path = Path(argument)
    beside = [each.name for each in path.parent.iterdir() if each.is_dir()] if path.parent.is_dir() else []
    suggestion = did_you_mean(path.name, beside)
    return f"RUN = {argument!r}: expected the folder of a run, or a pattern, got no such folder{suggestion or '.'}"


def _names(folders: Iterable[Path]) -> list[str]:
    """Return the paths without what all of them start with; a single run's is the name of its folder."""
    paths = [Path(os.path.abspath(folder)) for folder in folders]
    if len(paths) < 2:
        return [path.name for path in paths]
    shared = os.path.commonpath([path.parent for path in paths])
    return [os.path.relpath(path, shared) for path in paths]
