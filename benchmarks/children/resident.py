"""The resident memory of a process, in bytes, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def now() -> int:
    """What it has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """The most it had since `reset_peak`."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Forgets the peak."""
    _CLEAR.write_text(_RESET_PEAK)
