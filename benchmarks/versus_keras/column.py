"""All cases on one number of replicas: `python -m benchmarks.versus_keras.column REPLICAS [TEXT ...]`.

Each number of replicas has its own process: in one, strategies of two sizes disturb each other's collective operations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from . import layers, metrics, optimizers, resume, training, workers
from .case import Case, Failure, Value, attempt

VIRTUAL_CPUS = 4
CASES: tuple[Case, ...] = (
    *metrics.OF_EVALUATE,
    *training.OF_FIT,
    layers.BATCH_NORM,
    layers.SYNCHRONIZED,
    *optimizers.CASES,
    optimizers.EMBEDDING,
    training.JIT,
    training.LOOPS,
    optimizers.OVERFLOW,
    layers.DROPOUT,
    *workers.CASES,
    metrics.SAME_NAME,
    resume.RESUME,
    training.UNKNOWN_LENGTH,
)


def column(replicas: int, texts: Sequence[str] = ()) -> Iterator[dict]:
    """Yield for each case its name, the exact number and the result of each side, ready for JSON.

    Args:
      replicas: to run on.
      texts: only cases whose name contains one of them; all if empty.
    """
    for case in CASES:
        if not texts or any(text in case.name for text in texts):
            sides = {"keras": (case.keras, case.keras_replicas), "tallyloop": (case.tallyloop, case.tallyloop_replicas)}
            cells = {side: _cell(case, *found, replicas) for side, found in sides.items()}
            yield {"name": case.name, "exact": case.write(case.exact()), **cells}


def _cell(case: Case, compute: Callable[[int], Value], asked: tuple[int, ...], replicas: int) -> dict | None:
    if replicas not in asked:
        return None
    found = attempt(compute, replicas)
    if isinstance(found, Failure):
        return {"error": found.message, "right": False}
    return {"text": case.write(found), "right": case.is_right(found)}


def main(replicas: int, *texts: str) -> None:
    """Print one line of JSON per case."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * VIRTUAL_CPUS)
    for cells in column(replicas, texts):
        print(json.dumps(cells), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
