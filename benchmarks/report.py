"""What the printed tables have in common."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def aligned(lines: list[list[str]]) -> list[str]:
    """A table in Markdown, with columns that are aligned to be read as text too; the first line is the header."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [padded[0], rule, *padded[1:]]


def machine() -> str:
    """What the numbers were measured on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy", "tallyloop"))
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
