"""Numbers, times and paths as a person reads them; and whether a stream is a terminal."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterable
from typing import TextIO


def number(value: float) -> str:
    """Return four significant digits, or a whole number with thousands separators from 10,000 to a billion."""
    if 9999.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds, such as "1:02:03", with days in front if there are any."""
    return str(datetime.timedelta(seconds=math.ceil(seconds)))


def spent(seconds: float) -> str:
    """Return a time that something took, such as "7.1 s" or, from two minutes on, "0:02:01"."""
    return f"{number(round(seconds, 1))} s" if seconds < 120 else duration(seconds)


def in_order(paths: Iterable[str]) -> list[str]:
    """Return the paths of metrics by name, the loss first, and last the learning rate, which is not a result."""
    return sorted(paths, key=lambda path: (path != "loss", path.startswith("learning_rate"), path))


def shortened(text: str, width: int) -> str:
    """Return a text in so many columns: of a long path, the end tells more than the middle."""
    if len(text) <= width:
        return text
    begin = (width - 1) // 3
    return f"{text[:begin]}…{text[len(text) - (width - 1 - begin) :]}"


def is_terminal(stream: TextIO) -> bool:
    """Return whether lines on the stream can be drawn again."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
