"""What each `--mode` does with a Trainer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ...metrics.writers import JsonlWriter, Summary, TensorBoardWriter
from ...metrics.writers.console import eval_line
from ..checkpointing.restore import UnreadableCheckpointError, latest
from ..distribution import workers
from ..trainer import Trainer
from .folders import first_write

_POLL_SECONDS = 5.0


def parts(mode: str) -> dict[str, bool]:
    """Which of the Trainer's loops the mode runs, as arguments of `Trainer.prepare`."""
    return {"train": mode in ("train", "train_and_eval"), "evaluate": mode in ("train_and_eval", "eval")}


def prepare(mode: str, trainer: Trainer) -> None:
    """Checks and traces what the mode needs, before anything is written."""
    if mode in ("eval", "predict") and not trainer.eval_datasets:
        raise UsageError(
            f"--mode={mode} needs Trainer.eval_datasets, and it is empty: bind them as in "
            'Trainer.eval_datasets = {"test": @test/Input()}.'
        )
    trainer.prepare(**parts(mode))


def run(mode: str, trainer: Trainer, model_dir: Path, checkpoint: str | None) -> None:
    """Runs the mode."""
    if mode == "train_and_eval":
        trainer.train_and_eval()
    elif mode == "train":
        trainer.train()
    elif mode == "eval":
        _evaluate(trainer, model_dir, checkpoint)
    elif workers.is_chief(trainer.strategy):  # on one device of one worker
        path = checkpoint or latest(model_dir / "checkpoints")
        if path is None:
            raise UsageError(f"--mode={mode}: {model_dir / 'checkpoints'} has no checkpoint: train first.")
        (_predict if mode == "predict" else _export)(trainer, model_dir, path)


def _evaluate(trainer: Trainer, model_dir: Path, checkpoint: str | None) -> None:
    chief = workers.is_chief(trainer.strategy)
    if chief:
        _make(model_dir, model_dir)
    writers = (JsonlWriter(model_dir / "metrics.jsonl"), TensorBoardWriter(model_dir)) if chief else ()
    for path in [checkpoint] if checkpoint else _follow(trainer, model_dir / "checkpoints"):
        for summary in (trainer.summaries(path) if checkpoint else _unless_deleted(trainer, path)).values():
            for writer in writers:
                writer.upsert(summary)  # training, or this command before, may have evaluated the step already
            if chief:
                print(eval_line(summary), flush=True)


def _unless_deleted(trainer: Trainer, path: str) -> Mapping[str, Summary]:
    """What the checkpoint gives; nothing if the run that writes them has deleted it meanwhile: it keeps the newest few.

    With several workers that stays an error: each reads by itself, and one may have restored what another did not find.
    """
    try:
        return trainer.summaries(path)
    except (UnreadableCheckpointError, tf.errors.NotFoundError):
        if workers.is_multi_worker(trainer.strategy) or tf.io.gfile.exists(path + ".index"):
            raise
        logging.warning(
            "%s was deleted before it could be evaluated; the next one is waited for. A larger Trainer.keep_checkpoints "
            "in the run that writes them gives more time.",
            path,
        )
        return {}


def _follow(trainer: Trainer, folder: Path) -> Iterator[str]:
    """Yields each new checkpoint, up to that of the last train step; the chief looks for it, and tells the others."""
    found = None
    if workers.is_chief(trainer.strategy):
        if latest(folder) is None:
            print(f"Waiting for a checkpoint in {folder} ...", flush=True)
        found = tf.train.checkpoints_iterator(str(folder), min_interval_secs=_POLL_SECONDS)
    while True:
        yield workers.from_chief(trainer.strategy, found and next(found))
        if trainer.step >= trainer.train_steps:
            return


def _predict(trainer: Trainer, model_dir: Path, checkpoint: str) -> None:
    """Writes `predictions/NAME.npz` for every eval dataset; nested outputs become path-like keys."""
    folder = model_dir / "predictions"
    for name, dataset in trainer.eval_datasets.items():
        outputs = trainer.predict(dataset, checkpoint)
        _make(folder, model_dir)
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


def _export(trainer: Trainer, model_dir: Path, checkpoint: str) -> None:
    """Writes `export/`; an export that fails on the way leaves the one before as it was."""
    _make(model_dir, model_dir)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=model_dir) as unfinished:
        try:
            trainer.export(unfinished, checkpoint)
        except NotImplementedError as error:  # how Keras says that a class of the user's lacks `get_config`
            raise UsageError(f"--mode=export: the model cannot be saved: {error}") from error
        shutil.copytree(unfinished, model_dir / "export", dirs_exist_ok=True)
    print(f"Exported to {model_dir / 'export'}")


def _make(folder: Path, model_dir: Path) -> None:
    with first_write(model_dir):
        folder.mkdir(parents=True, exist_ok=True)
