"""The process of a trial: the ordinary command, in the trial's own folder."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...metrics.writers.run_files import METRICS
from ..distribution.forwarding import die_with
from ..report import run
from ..report.ending import brief

if TYPE_CHECKING:  # every command that runs imports this module, and few are studies
    from .book import Trial
    from .space import Space

OUTPUT = "output.txt"
_PARENT = "TALLYLOOP_STUDY"
_LONGEST_REASON = 300


def die_with_study() -> None:
    """If a study has started this process, end with it. The variable leaves the environment: children do not inherit it."""
    if parent := os.environ.pop(_PARENT, None):
        die_with(int(parent))


def points(folder: Path, space: Space) -> list[tuple[int, float]]:
    """Return step and value of the metric in the evaluations of a trial so far, without those that are not finite."""
    read = run.read("", folder)
    metric = run.named(read.metrics, space.metric)
    found = read.metrics[metric] if metric else []
    return [point for point in found if math.isfinite(point[1])]


class Process:
    """A trial under way.

    Args:
      trial: the trial.
      folder: its folder, which exists.
      command: what trains in it.

    Attributes:
      hopeless: why it has been asked to end early; empty if it has not.
    """

    def __init__(self, trial: Trial, folder: Path, command: Sequence[str]):
        self.trial: Trial = trial
        self.folder: Path = folder
        self.hopeless: str = ""
        self._seen: tuple[int, int] | None = None
        with (folder / OUTPUT).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {_PARENT: str(os.getpid())},
                start_new_session=True,  # Ctrl-C reaches only the study, which forwards it once
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self._process.send_signal(number)

    def prune(self, reason: str) -> None:
        """Ask it to save and end, and keep why."""
        self.hopeless = reason
        self.send(signal.SIGTERM)

    def has_news(self) -> bool:
        """Return whether there are metrics since the last call."""
        seen = None
        with contextlib.suppress(FileNotFoundError):
            found = (self.folder / METRICS).stat()
            seen = (found.st_size, found.st_mtime_ns)
        is_new, self._seen = seen != self._seen, seen
        return is_new

    def failure(self) -> str:
        """Return why a process that has ended badly did so, as its output tells."""
        code = self.code or 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = [line.strip() for line in _tail(self.folder / OUTPUT).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("Error: ")] if code > 0 else []
        told = brief((errors or lines or [""])[-1].removeprefix("Error: "))
        short = told if len(told) <= _LONGEST_REASON else f"{told[:_LONGEST_REASON]}..."
        return f"{how}: {short}" if short else how


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 20_000))
        return file.read().decode(errors="replace")
