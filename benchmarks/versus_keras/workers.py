"""Cases on two worker processes of this machine."""

from __future__ import annotations

import functools
import json
import os
import subprocess

from ..harness.processes import ROOT, cluster_environments, command, end
from .case import Case, WorkerError
from .problem import descend, rows

WORKERS, LIMIT, GRACE = 2, 120, 5  # seconds


def _start(function: str) -> list[subprocess.Popen]:
    return [
        subprocess.Popen(
            command("versus_keras.worker", function),
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for environment in cluster_environments(WORKERS)
    ]


@functools.cache
def result(function: str) -> list[float]:
    """Return the result of a function of `worker`, as the first worker prints it.

    Raises:
      WorkerError: the function raised this error, or was not done in time.
    """
    processes = _start(function)
    try:
        printed, _ = processes[0].communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer within {LIMIT} seconds") from None
    finally:
        end(processes, GRACE)
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    if not lines:
        raise WorkerError(f"the worker died with exit code {processes[0].returncode}")
    found = json.loads(lines[-1])
    if "error" in found:
        raise WorkerError(found["error"])
    return found["values"]


def weight_difference(found: list[float]) -> float:
    """Return dW of two epochs."""
    return max(abs(a - b) for a, b in zip(found, descend(rows(103), 14), strict=True))


def exact_loss() -> float:
    """Return the loss at zero weights, which predict 0."""
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
