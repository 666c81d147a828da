"""One process of a placement: `python -m benchmarks.matrix.process FILE STRATEGY REPLICAS STEPS SETTING ...`.

With `multi_worker_mirrored`, TF_CONFIG says which worker it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf
from tallyloop.trainer.distribution import strategies, workers

from .measure import measure, save
from .settings import ROUNDING, SETTINGS


def main(file: str, strategy: str, replicas: str, steps: str, *names: str) -> None:
    """Runs the settings and writes what they give to `file`."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))
    made = getattr(
        strategies, strategy
    )()  # before anything else of TensorFlow, as a worker must join its cluster first
    assert made.num_replicas_in_sync == int(replicas) * workers.count(made), "other replicas than the table says"
    settings = SETTINGS | ROUNDING
    results = {}
    for name in names:
        results[name] = measure(settings[name], made, int(steps))
        print(name, flush=True)
    save(results, Path(file))
    workers.wait_for_all(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
