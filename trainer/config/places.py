"""Where a binding was written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

COMMAND_LINE = "--gin_param"


class Place(NamedTuple):
    """A line of a file, or one `--gin_param`."""

    source: str
    line: int | None = None
    param: str | None = None
    reading: int = 0
    """Which reading of which file: a file that is included twice is read twice."""

    def __str__(self) -> str:
        if self.param is not None:
            return f'{COMMAND_LINE} "{self.param}"'
        return self.source if self.line is None else f"{self.source}:{self.line}"


def shown(path: Path) -> str:
    """Returns a path as a user reads it best: relative below the working folder, else absolute."""
    path = Path(os.path.abspath(path))
    folder = Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
