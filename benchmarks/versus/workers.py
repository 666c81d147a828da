"""Two worker processes on this machine."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.processes import end, environments

from .case import Case, WorkerError
from .problem import descend, rows

ROOT = Path(__file__).parents[2]
WORKERS, LIMIT, GRACE = 2, 120, 5  # seconds


def _start(what: str) -> list[subprocess.Popen]:
    return [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.versus.worker", what],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for environment in environments(WORKERS)
    ]


@functools.cache
def result(what: str) -> list[float]:
    """What the first worker found.

    Raises:
      WorkerError: what it raised, or that it was not done in time.
    """
    processes = _start(what)
    try:
        said, _ = processes[0].communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer within {LIMIT} seconds") from None
    finally:
        end(processes, GRACE)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    if not lines:
        raise WorkerError(f"the worker died with exit code {processes[0].returncode}")
    found = json.loads(lines[-1])
    if "error" in found:
        raise WorkerError(found["error"])
    return found["values"]


def weight_difference(found: list[float]) -> float:
    """dW of two epochs."""
    return max(abs(a - b) for a, b in zip(found, descend(rows(103), 14), strict=True))


def exact_loss() -> float:
    """At zero weights, which predict 0."""
    return float((rows(103)["y"].astype("float64") ** 2).mean())


TWO = {"keras_replicas": (WORKERS,), "tallyloop_replicas": (WORKERS,)}
CASES = (
    Case(
        "dW of fit on two workers (MultiWorkerMirroredStrategy)",
        exact=lambda: 0.0,
        keras=lambda _: weight_difference(result("keras_fit")),
        tallyloop=lambda _: weight_difference(result("tallyloop")[1:]),
        form="{:.2g}",
        **TWO,
    ),
    Case(
        "evaluate on two workers (MultiWorkerMirroredStrategy)",
        exact=exact_loss,
        keras=lambda _: result("keras_evaluate")[0],
        tallyloop=lambda _: result("tallyloop")[0],
        **TWO,
    ),
)
