"""The text that benchmarks print: Markdown tables, durations, the machine, and progress."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
LINE = 130  # characters, in Markdown that is not a table
SCALES = {"s": 1.0, "ms": 1e3, "us": 1e6}  # unit -> units per second


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table whose columns also line up as plain text; the first line is the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [padded[0], rule, *padded[1:]]


def duration(seconds: float) -> str:
    """Return a time with three digits and a unit."""
    unit = next((unit for unit, scale in SCALES.items() if seconds * scale >= 1), "us")
    return f"{seconds * SCALES[unit]:.3g} {unit}"


def machine() -> str:
    """Return the processor, the system and the versions of the packages."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "tallyloop"))
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, {versions}"
    )


def progress(text: str) -> None:
    """Print a line to standard error, so that standard output holds the results alone."""
    print(text, file=sys.stderr, flush=True)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
