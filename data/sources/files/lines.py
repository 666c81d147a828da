"""The lines of text files, by number; only their places are in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....metrics.errors import UsageError
from ..storage.files import fingerprint
from ..storage.rows import checked, objects

_CHUNK = 2**24
_NEWLINE = 10


class Lines:
    """The lines of files, in order; an end of a line is "\\n" or "\\r\\n", and is left out.

    Args:
      files: in UTF-8.
      split: the part of the lines, as fractions.

    Raises:
      UsageError: a file cannot be read, or there are no lines.
    """

    def __init__(self, files: Sequence[str], split: tuple[float, float]):
        self._files = list(files)
        self._bounds = [_bounds(file) for file in files]
        self._ends = np.cumsum([len(bounds) - 1 for bounds in self._bounds])
        self._first, end = (round(fraction * int(self._ends[-1])) for fraction in split)
        self._count = end - self._first
        if self._count < 1:
            raise UsageError(f"text.path: expected lines, got none in {self._files[:3]}, text.split = {split}")
        self.fingerprint: str = fingerprint(files, ("lines", split))

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the lines as `text`."""
        numbers = checked(rows, self._count) + self._first
        found = np.empty(len(numbers), object)
        places = np.searchsorted(self._ends, numbers, side="right")
        for place in np.unique(places).tolist():
            here = np.flatnonzero(places == place)
            first = self._ends[place] - (len(self._bounds[place]) - 1)
            found[here] = objects(self._read(place, (numbers[here] - first).tolist()))
        return {"text": found}

    def named(self, row: int) -> str:
        """Return what an error calls a row."""
        number = row + self._first
        place = int(np.searchsorted(self._ends, number, side="right"))
        line = number - int(self._ends[place]) + len(self._bounds[place])
        return f"row {row}, {self._files[place]}:{line}"

    def _read(self, place: int, lines: list[int]) -> list[str]:
        file, bounds = self._files[place], self._bounds[place]
        with open(file, "rb") as opened:
            return [_line(opened, file, line, bounds[line : line + 2].tolist()) for line in lines]


def _line(opened, file: str, number: int, bounds: list[int]) -> str:
    opened.seek(bounds[0])
    content = opened.read(bounds[1] - bounds[0]).removesuffix(b"\n").removesuffix(b"\r")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"text: {file}:{number + 1} isn't UTF-8 ({error.reason}): expected UTF-8; convert the file"
        ) from error


def _bounds(file: str) -> np.ndarray:
    """Return where each line starts, and the end of the last."""
    ends, size = [np.zeros(1, np.int64)], 0
    try:
        with open(file, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                ends.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE) + size + 1)
                size += len(chunk)
    except OSError as error:
        raise UsageError(f"text: {file!r} cannot be read ({error.strerror or error}); correct text.path") from error
    starts = np.concatenate(ends)
    return starts if starts[-1] == size else np.append(starts, size)  # the last line may have no end
