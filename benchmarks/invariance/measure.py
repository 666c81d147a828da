"""The child process of a placement: `python -m benchmarks.invariance.measure FILE STRATEGY REPLICAS STEPS SETTING ...`.

It runs the settings one after the other and writes their results to FILE. With `multi_worker_mirrored`, TF_CONFIG says which
worker it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Trainer
from tallyloop.trainer.distribution import strategies, workers

from . import examples
from .settings import ROUNDING, SETTINGS, Setting


class Result(NamedTuple):
    """The state of one process at the end of a run.

    Attributes:
      weights: path of a variable -> its copies, one per replica of this process; moving statistics and counters are included.
      metrics: of the evaluation.
    """

    weights: dict[str, np.ndarray]
    metrics: dict[str, float]


def measure(setting: Setting, strategy: tf.distribute.Strategy, steps: int) -> Result:
    """Train on `steps` batches, and evaluate."""
    trainer = _trainer(setting, strategy, steps)
    evaluated = trainer.train_and_eval()["test"]
    copies = {
        variable.path: np.stack([copy.numpy() for copy in strategy.experimental_local_results(variable.value)])
        for variable in trainer.model.variables
    }
    return Result(copies, {name: float(value) for name, value in evaluated.items()})


def _trainer(setting: Setting, strategy: tf.distribute.Strategy, steps: int) -> Trainer:
    size = examples.BATCH // setting.pieces
    accumulated = {"gradient_accumulation": setting.pieces} if setting.pieces > 1 else {}
    return Trainer(
        task=setting.task(),
        optimizer=setting.optimizer,
        strategy=strategy,
        train_dataset=Input(examples.train(setting.rows), size, shuffle=setting.shuffle),
        eval_datasets={"test": Input(examples.test(), examples.BATCH)},
        train_steps=steps * setting.pieces,
        **{**setting.options, **accumulated},
    )


def save(results: Mapping[str, Result], file: Path) -> None:
    """Write results to an .npz file."""
    arrays = {
        f"{name}|{kind}|{key}": value
        for name, result in results.items()
        for kind, values in result._asdict().items()
        for key, value in values.items()
    }
    np.savez(file, **arrays)


def load(file: Path) -> dict[str, Result]:
    """Return the results that `save` wrote."""
    results: dict[str, Result] = {}
    with np.load(file) as arrays:
        for name, value in arrays.items():
            setting, kind, key = name.split("|")
            result = results.setdefault(setting, Result({}, {}))
            getattr(result, kind)[key] = value if kind == "weights" else float(value)
    return results


def main(file: str, strategy: str, replicas: str, steps: str, *names: str) -> None:
    """Run the settings, and write their results to `file`."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(replicas))
    made = getattr(strategies, strategy)()  # before anything else uses TensorFlow: a worker must join its cluster first
    assert made.num_replicas_in_sync == int(replicas) * workers.count(made), "not the replicas of the placement"
    settings = SETTINGS | ROUNDING
    results = {}
    for name in names:
        results[name] = measure(settings[name], made, int(steps))
        print(name, flush=True)
    save(results, Path(file))
    workers.wait_for_all(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
