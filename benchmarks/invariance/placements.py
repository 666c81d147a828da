"""The columns of the table: the processes and replicas of a run."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..harness.processes import ROOT, cluster_environments, command, end
from .measure import Result, load

LIMIT, GRACE, POLL = 900, 5, 0.2  # seconds


class Placement(NamedTuple):
    """The place of a run.

    Attributes:
      strategy: the name of its factory, as in a config.
      workers: processes.
      replicas: logical CPU devices per worker.
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
    """A process died or was not done in time; the message ends with the end of its log."""


def results(placement: Placement, names: Sequence[str], steps: int, limit: float = LIMIT) -> list[dict[str, Result]]:
    """Run settings on a placement, one after the other.

    Args:
      placement: where.
      names: of the settings.
      steps: batches to train on.
      limit: seconds until the processes are killed.

    Returns:
      For each process, setting -> its result.

    Raises:
      ProcessError: one of them failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _run(placement, [str(steps), *names], folder, limit)
        return [load(folder / f"{i}.npz") for i in range(placement.workers)]


def _run(placement: Placement, arguments: list[str], folder: Path, limit: float) -> None:
    environments = cluster_environments(placement.workers) if placement.workers > 1 else [{}]
    processes: list[subprocess.Popen] = []
    try:
        for i, environment in enumerate(environments):
            processes.append(_start(placement, arguments, folder / str(i), environment))
        _wait(processes, folder, limit)
    finally:
        end(processes, 0)


def _start(placement: Placement, arguments: list[str], file: Path, environment: Mapping[str, str]) -> subprocess.Popen:
    where = [placement.strategy, str(placement.replicas)]
    with file.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            command("invariance.measure", file.with_suffix(".npz"), *where, *arguments),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=log,
            stderr=log,
        )


def _wait(processes: Sequence[subprocess.Popen], folder: Path, limit: float) -> None:
    """Wait until all are done or one fails, for which the others would wait."""
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


def _last_words(folder: Path, which: Sequence[int]) -> str:
    tails = [(folder / f"{i}.log").read_text(errors="replace").splitlines()[-20:] for i in which]
    return "\n".join(f"--- process {i} ---\n" + "\n".join(tail) for i, tail in zip(which, tails, strict=True))
