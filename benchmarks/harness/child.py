"""The child's side of a benchmark process: answering, running lap by lap, and its own resident memory.

It imports nothing of Tallyloop, so that a child can run on any version of it. The memory figures need Linux.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

HALTED = "halted"  # followed by the seconds of the lap
_STOPPED = 3  # exit code
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def answer(found: Mapping[str, Any]) -> None:
    """Print the answer for the parent as one line of JSON."""
    print(json.dumps(found), flush=True)


def run_in_laps(run: Callable[[Callable[[], None]], None]) -> None:
    """Call `run(halt)`, which calls `halt` at the end of each lap; everything else it prints is discarded.

    The first halt comes before `run`, so that the parent decides when the first lap starts. The process exits when the parent
    closes its end of the pipe.
    """
    to_parent = sys.stdout
    started = time.perf_counter()

    def halt() -> None:
        nonlocal started
        print(HALTED, time.perf_counter() - started, file=to_parent, flush=True)
        if not sys.stdin.readline():
            os._exit(_STOPPED)  # the parent is gone
        started = time.perf_counter()

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        halt()
        run(halt)


def resident_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory() -> int:
    """Return the largest resident memory in bytes since `reset_peak_memory`."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak_memory() -> None:
    """Start a new peak from the current resident memory."""
    _CLEAR.write_text(_RESET_PEAK)
