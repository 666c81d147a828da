"""What each `--mode` does with a Trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from ...metrics.errors import UsageError
from ...metrics.writers.text import eval_line
from ..checkpoints import latest
from ..outputs import RunWriters
from ..trainer import Trainer

_POLL_SECONDS = 5.0


def prepare(mode: str, trainer: Trainer, checkpoint: str | None) -> None:
    """Checks and traces what the mode needs, before anything is written."""
    if checkpoint is not None and not tf.io.gfile.exists(checkpoint + ".index"):
        raise UsageError(
            f"--checkpoint={checkpoint}: no such checkpoint (there is no {checkpoint}.index); wanted its path "
            "without an ending, such as /run/checkpoints/ckpt-500."
        )
    trainer.prepare(train=mode in ("train", "train_and_eval"), evaluate=mode in ("train_and_eval", "eval"))


def run(mode: str, trainer: Trainer, model_dir: Path, checkpoint: str | None) -> None:
    """Runs the mode."""
    if mode == "train_and_eval":
        trainer.train_and_eval()
    elif mode == "train":
        trainer.train()
    elif mode == "eval":
        _evaluate(trainer, model_dir, checkpoint)
    else:
        path = checkpoint or latest(model_dir / "checkpoints")
        if path is None:
            raise UsageError(f"--mode={mode}: {model_dir / 'checkpoints'} has no checkpoint: train first.")
        _predict(trainer, model_dir, path) if mode == "predict" else _export(trainer, path)


def _evaluate(trainer: Trainer, model_dir: Path, checkpoint: str | None) -> None:
    writers = RunWriters(model_dir)
    try:
        for path in [checkpoint] if checkpoint else _follow(trainer, model_dir / "checkpoints"):
            for summary in trainer.summaries(path).values():
                writers.write(summary)
                print(eval_line(summary), flush=True)
    finally:
        writers.close()


def _follow(trainer: Trainer, folder: Path) -> Iterator[str]:
    """Yields each new checkpoint, up to that of the last train step."""
    if latest(folder) is None:
        print(f"Waiting for a checkpoint in {folder} ...", flush=True)
    for path in tf.train.checkpoints_iterator(str(folder), min_interval_secs=_POLL_SECONDS):
        yield path
        if trainer.step >= trainer.train_steps:
            return


def _predict(trainer: Trainer, model_dir: Path, checkpoint: str) -> None:
    """Writes `predictions/NAME.npz` for every eval dataset; nested outputs become path-like keys."""
    folder = model_dir / "predictions"
    for name, dataset in trainer.eval_datasets.items():
        outputs = trainer.predict(dataset, checkpoint)
        folder.mkdir(exist_ok=True)
        np.savez(folder / f"{name}.npz", **_named(outputs))
        print(f"Predictions for {name}: {folder / name}.npz")


def _named(outputs) -> dict[str, np.ndarray]:
    if isinstance(outputs, dict):
        return {
            "/".join(filter(None, (key, inner))): array
            for key, value in outputs.items()
            for inner, array in (_named(value) if isinstance(value, dict) else {"": value}).items()
        }
    return {f"output_{i}": array for i, array in enumerate(tf.nest.flatten(outputs))}


def _export(trainer: Trainer, checkpoint: str) -> None:
    print(f"Exported to {trainer.export(checkpoint=checkpoint)}")
