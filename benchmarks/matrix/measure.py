"""Running a setting, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Trainer

from . import examples
from .settings import Setting


class Result(NamedTuple):
    """What one process has at the end of a run.

    Attributes:
      weights: path of a variable, moving statistics and counters included -> its copies, one a replica of this process.
      metrics: of the evaluation.
    """

    weights: dict[str, np.ndarray]
    metrics: dict[str, float]


def measure(setting: Setting, strategy: tf.distribute.Strategy, steps: int) -> Result:
    """Trains for so many batches, and evaluates."""
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
    """Writes them as an .npz."""
    arrays = {
        f"{name}|{kind}|{key}": value
        for name, result in results.items()
        for kind, values in result._asdict().items()
        for key, value in values.items()
    }
    np.savez(file, **arrays)


def load(file: Path) -> dict[str, Result]:
    """Reads what `save` wrote."""
    results: dict[str, Result] = {}
    with np.load(file) as arrays:
        for name, value in arrays.items():
            setting, kind, key = name.split("|")
            result = results.setdefault(setting, Result({}, {}))
            getattr(result, kind)[key] = value if kind == "weights" else float(value)
    return results
