"""`--grid`: every combination of some values, one trial each. Its book is a JSON file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path

from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from ..config.reading import read_param
from .book import Outcome, Trial

FILE = "grid.json"
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[()\[\]{}]|,""")


def points(grids: Sequence[str]) -> list[dict[str, str]]:
    """Return all combinations, the last grid varying fastest: binding -> text of its value.

    Args:
      grids: each is `NAME=VALUE,VALUE`, with a gin value between two commas.

    Raises:
      UsageError: one is not.
    """
    values: dict[str, list[str]] = {}
    for grid in grids:
        key, equals, text = (part.strip() for part in grid.partition("="))
        found = _split(text)
        if not equals or not key or not all(found):
            raise UsageError(
                f'--grid="{grid}": expected NAME=VALUE,VALUE, such as --grid="Adam.learning_rate=1e-3,1e-2", got '
                f"{'no name' if not key else 'an empty value' if equals else 'no ='}."
            )
        if key in values:
            raise UsageError(f'--grid="{grid}": expected each name once, got {key} twice: put all its values into one.')
        if twice := [each for each in found if found.count(each) > 1]:
            raise UsageError(f'--grid="{grid}": expected different values, got {twice[0]} twice.')
        _check(grid, key, found[0])
        values[key] = found
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def _check(grid: str, key: str, text: str) -> None:
    try:
        read_param(f"{key}={text}")
    except UsageError as error:
        raise UsageError(f'--grid="{grid}": {str(error).partition(": ")[2]}') from error


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand in no brackets and no quotes."""
    depth, start, parts = 0, 0, []
    for token in _TOKEN.finditer(text):
        if token.group() == "," and depth == 0:
            parts.append(text[start : token.start()])
            start = token.end()
        elif token.group() in "([{":
            depth += 1
        elif token.group() in ")]}":
            depth -= 1
    return [part.strip() for part in [*parts, text[start:]]]


class Grid:
    """The book of a grid.

    A combination that is added later gets a number after those that are known. Nothing is pruned.

    Args:
      folder: of the study.
      combinations: of values, as `points` returns them.

    Raises:
      UsageError: the file is damaged.
    """

    def __init__(self, folder: Path, combinations: Sequence[dict[str, str]]):
        self._path = folder / FILE
        self._wanted = list(combinations)
        self._trials: list[Trial] = self._read()

    def trials(self) -> list[Trial]:
        """Return those so far."""
        return list(self._trials)

    def next(self) -> Trial | None:
        """Begin the next combination."""
        begun = [trial.values for trial in self._trials]
        wanted = next((values for values in self._wanted if values not in begun), None)
        if wanted is None:
            return None
        self._trials.append(Trial(len(self._trials), wanted))
        self._write()
        return self._trials[-1]

    def report(self, number: int, points: Sequence[tuple[int, float]]) -> bool:
        """Return False: every combination is trained to its end."""
        return False

    def finish(self, number: int, outcome: Outcome, value: float | None, reason: str) -> None:
        """Note how a trial ended."""
        self._trials[number] = dataclasses.replace(self._trials[number], outcome=outcome, value=value, reason=reason)
        self._write()

    def _read(self) -> list[Trial]:
        if not self._path.exists():
            return []
        try:
            return [Trial(**fields) for fields in json.loads(self._path.read_bytes())["trials"]]
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"{self._path} is damaged ({error}): expected what --grid wrote. Restore it, or choose another --study."
            ) from error

    def _write(self) -> None:
        fields = {"trials": [dataclasses.asdict(trial) for trial in self._trials]}
        replace_file(self._path, [json.dumps(fields, indent=2).encode() + b"\n"])
