"""The columns of the table: on how many processes and replicas a run is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import end, environments

from .measure import Result, load

ROOT = Path(__file__).parents[2]
LIMIT, GRACE, POLL = 900, 5, 0.2  # seconds


class Placement(NamedTuple):
    """Where a run is.

    Attributes:
      strategy: the name of the function that makes it, as in a config.
      workers: the processes.
      replicas: logical CPU devices of each.
    """

    strategy: str
    workers: int = 1
    replicas: int = 1


REFERENCE = Placement("one_device")
PLACEMENTS: Mapping[str, Placement] = {
    "1 replica": Placement("mirrored"),
    "2 replicas": Placement("mirrored", replicas=2),
    "4 replicas": Placement("mirrored", replicas=4),
    "2 workers": Placement("multi_worker_mirrored", workers=2),
    "3 workers": Placement("multi_worker_mirrored", workers=3),
    "2 workers x 2 replicas": Placement("multi_worker_mirrored", workers=2, replicas=2),
}


class ProcessError(RuntimeError):
    """A process died or was not done in time; with its last words."""


def results(placement: Placement, names: Sequence[str], steps: int, limit: float = LIMIT) -> list[dict[str, Result]]:
    """Runs these settings there, one after the other; returns what each process has at the end, by their names.

    Args:
      placement: where.
      names: of the settings.
      steps: how many batches are trained on.
      limit: seconds until the processes are killed.

    Raises:
      ProcessError: one of them failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _run(placement, [str(steps), *names], folder, limit)
        return [load(folder / f"{i}.npz") for i in range(placement.workers)]


def _run(placement: Placement, arguments: list[str], folder: Path, limit: float) -> None:
    surroundings = environments(placement.workers) if placement.workers > 1 else [{}]
    processes: list[subprocess.Popen] = []
    try:
        for i, environment in enumerate(surroundings):
            processes.append(_start(placement, arguments, folder / str(i), environment))
        _wait(processes, folder, limit)
    finally:
        end(processes, 0)


def _start(placement: Placement, arguments: list[str], file: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    where = [placement.strategy, str(placement.replicas)]
    with file.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.matrix.process", str(file.with_suffix(".npz")), *where, *arguments],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        )


def _wait(processes: Sequence[subprocess.Popen], folder: Path, limit: float) -> None:
    """Returns when all are done; the first that fails ends it, as the others would wait for it."""
    stop = time.monotonic() + limit
    while any(process.poll() is None for process in processes):
        if time.monotonic() > stop:
            raise ProcessError(f"Not done within {limit:.0f} seconds.\n{_last_words(folder, range(len(processes)))}")
        if any(process.poll() for process in processes):
            break
        time.sleep(POLL)
    failed = [i for i, process in enumerate(processes) if process.poll()]
    if failed:
        codes = ", ".join(f"process {i}: exit code {processes[i].returncode}" for i in failed)
        raise ProcessError(f"{codes}.\n{_last_words(folder, failed)}")


def _last_words(folder: Path, which: Sequence[int], lines: int = 20) -> str:
    tails = [(folder / f"{i}.log").read_text(errors="replace").splitlines()[-lines:] for i in which]
    return "\n".join(f"--- process {i} ---\n" + "\n".join(tail) for i, tail in zip(which, tails, strict=True))
