"""Summaries as lines of JSON."""

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .files import replace_file
from .summary import Summary


class JsonlWriter:
    """Appends one line a summary: {"step": ..., "split": ..., "metrics": {...}, "counts": {...}}.

    Numbers are written so that reading them gives the same float64; TensorBoard has them rounded to float32.
    Arrays are nested lists. JSON has no NaN and no infinities: they are the strings "NaN", "Infinity" and
    "-Infinity", which Python's `float` reads.

    The file is created by the first write. It is opened for each line, so that every line is in the file
    when `write` returns, and another process may replace the file.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)

    def write(self, summary: Summary) -> None:
        """Appends a line; returns when it is in the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            _cut_torn_line(file)
            file.write(_line(summary))

    def put(self, summary: Summary) -> None:
        """Writes a line so that there is one for its step and split: in place of another one, or appended.

        Lines of later steps may stand before it. A line that is there already is left alone.
        """
        line, key = _line(summary), (summary.step, summary.split)
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        if line in lines:
            return
        changed = [line if _key(old) == key else old for old in lines]
        if line in changed:
            replace_file(self._path, changed)
        else:
            self.write(summary)

    def truncate_after(self, step: int) -> int:
        """Drops the lines of all splits past `step`, and unreadable ones such as a last line torn by a kill.

        What a resume from `step` has to call first. Returns the number of lines dropped. The file is
        replaced atomically, or left alone if there is nothing to drop.
        """
        if not self._path.exists():
            return 0
        *lines, torn = self._path.read_bytes().split(b"\n")
        kept = [line + b"\n" for line in lines if _step(line) <= step]
        dropped = len(lines) - len(kept) + bool(torn)
        if dropped:
            replace_file(self._path, kept)
        return dropped

    def flush(self) -> None:
        """Does nothing: a line is in the file when `write` returns."""

    def close(self) -> None:
        """Does nothing: the file is not held open."""


def _line(summary: Summary) -> bytes:
    fields = {
        "step": int(summary.step),
        "split": summary.split,
        "metrics": {
            path: _plain(value if isinstance(value, float) else np.asarray(value).tolist())
            for path, value in (summary.metrics | summary.times).items()
        },
        "counts": {path: _plain(float(count)) for path, count in summary.counts.items()},
    }
    return json.dumps(fields, allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _step(line: bytes) -> float:
    """The step of a line, past every step if the line is not one of ours."""
    return _key(line)[0]


def _key(line: bytes) -> tuple[float, str]:
    """The step and the split of a line."""
    try:
        fields = json.loads(line)
        return float(fields["step"]), str(fields["split"])
    except (ValueError, KeyError, TypeError):
        return math.inf, ""


def _cut_torn_line(file: BinaryIO) -> None:
    """Cuts off the part of a line that a kill or a full disk left, lest the next line be glued to it."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
