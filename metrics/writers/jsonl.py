"""Summaries as lines of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..atomic_file import replace_file

if TYPE_CHECKING:
    from .summary import Summary


class JsonlWriter:
    """Appends one line per summary: {"step": ..., "split": ..., "metrics": {...}, "counts": {...}}.

    Reading a number back gives the same float64; TensorBoard rounds to float32. Arrays are nested lists. JSON has no NaN
    and no infinities: they are the strings "NaN", "Infinity" and "-Infinity", which Python's `float` reads.

    The first write creates the file. The file is opened for each line, so that every line is in it when `write` returns,
    and another process may replace it.

    Args:
      path: the file; its folder is created if need be.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)

    def write(self, summary: Summary) -> None:
        """Append a line; it is in the file when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            _cut_torn_line(file)
            file.write(_line(summary))

    def upsert(self, summary: Summary) -> None:
        """Write the one line of a step and split: replace the line that is there, or append it.

        Lines of later steps may come before it. A line with the same content is left alone.
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
        """Drop the lines of all splits past `step`, and unreadable ones such as a last line torn by a kill.

        A resume from `step` has to call this first. The file is replaced atomically, or left alone if there is nothing to
        drop.

        Returns:
          The number of lines dropped.
        """
        if not self._path.exists():
            return 0
        *lines, torn = self._path.read_bytes().split(b"\n")
        kept = [line + b"\n" for line in lines if _key(line)[0] <= step]
        dropped = len(lines) - len(kept) + bool(torn)
        if dropped:
            replace_file(self._path, kept)
        return dropped

    def flush(self) -> None:
        """Do nothing: a line is in the file when `write` returns."""

    def close(self) -> None:
        """Do nothing: the file is not held open."""


def json_value(value: Any) -> Any:
    """Return a nest of dicts and lists as JSON can have it: NaN and infinities as the strings that `JsonlWriter` writes."""
    if isinstance(value, Mapping):
        return {key: json_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _line(summary: Summary) -> bytes:
    import numpy as np  # here, as tallyloop-report does without it

    fields = {
        "step": int(summary.step),
        "split": summary.split,
        "metrics": {
            path: json_value(value if isinstance(value, float) else np.asarray(value).tolist())
            for path, value in (summary.metrics | summary.times).items()
        },
        "counts": {path: json_value(float(count)) for path, count in summary.counts.items()},
    }
    return json.dumps(fields, allow_nan=False).encode() + b"\n"


def _key(line: bytes) -> tuple[float, str]:
    """Return the step and the split of a line; a line that is not one of ours is past every step."""
    try:
        fields = json.loads(line)
        return float(fields["step"]), str(fields["split"])
    except (ValueError, KeyError, TypeError):
        return math.inf, ""


def _cut_torn_line(file: BinaryIO) -> None:
    """Cut off the part of a line that a kill or a full disk left, lest the next line be glued to it."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
