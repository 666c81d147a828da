"""What each `--mode`, and `--dry_run`, does with a Trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ...metrics.terminal.console import eval_line
from ...metrics.writers import JsonlWriter, Summary, TensorBoardWriter, run_files
from ..checkpointing.restore import UnreadableCheckpointError, latest
from ..distribution import workers
from ..loop.folder_lock import first_write
from ..prediction import NPZ, Format
from ..replay.report import in_short
from ..trainer import Trainer
from .request import Mode

_POLL_SECONDS = 5.0


def loops(mode: Mode) -> dict[str, bool]:
    """Return which of the Trainer's loops the mode runs, as arguments of `Trainer.prepare`."""
    return {"train": mode in ("train", "train_and_eval"), "evaluate": mode in ("train_and_eval", "eval")}


def prepare(mode: Mode, trainer: Trainer) -> None:
    """Check and trace what the mode needs, before anything is written.

    Raises:
      UsageError: the mode needs eval datasets, and there are none.
    """
    if mode in ("eval", "predict") and not trainer.eval_datasets:
        raise UsageError(
            f"--mode={mode} needs Trainer.eval_datasets, which is empty: bind it, as in "
            'Trainer.eval_datasets = {"test": @test/Input()}.'
        )
    trainer.prepare(**loops(mode))


def run(
    mode: Mode, trainer: Trainer, model_dir: Path, checkpoint: str | None, format: Format = NPZ, step: int | None = None
) -> None:
    """Run a mode that writes to `model_dir`.

    Args:
      mode: any but `check`.
      trainer: a prepared Trainer.
      model_dir: the folder of the run.
      checkpoint: what `eval`, `predict` and `export` restore; None for the newest one, and for `eval` all new ones.
      format: that of the files that `predict` writes.
      step: the one that `replay` looks at.

    Raises:
      UsageError: there is no checkpoint, or the model cannot be exported.
    """
    if mode == "train_and_eval":
        trainer.train_and_eval()
    elif mode == "train":
        trainer.train()
    elif mode == "eval":
        _evaluate(trainer, model_dir, checkpoint)
    elif mode == "replay":
        _replay(trainer, model_dir, step or 0)
    elif (path := checkpoint or latest(model_dir / run_files.CHECKPOINTS)) is None:
        raise UsageError(f"--mode={mode}: {model_dir / 'checkpoints'} has no checkpoint: train first.")
    elif mode == "predict":
        _predict(trainer, model_dir, path, format)
    else:
        _export(trainer, model_dir, path)


def _evaluate(trainer: Trainer, model_dir: Path, checkpoint: str | None) -> None:
    chief = workers.is_chief(trainer.strategy)
    if chief:
        _make(model_dir, model_dir)
    writers = (
        (JsonlWriter(model_dir / run_files.METRICS), TensorBoardWriter(model_dir, trainer.best_side)) if chief else ()
    )
    for path in [checkpoint] if checkpoint else _follow(trainer, model_dir):
        for summary in (trainer.summaries(path) if checkpoint else _unless_deleted(trainer, path)).values():
            for writer in writers:
                writer.upsert(summary)  # training, or this command before, may have evaluated the step already
            if chief:
                print(eval_line(summary), flush=True)


def _unless_deleted(trainer: Trainer, path: str) -> Mapping[str, Summary]:
    """Return the summaries of a checkpoint; none if the training run, which keeps the newest few, has just deleted it."""
    try:
        return trainer.summaries(path)
    except (UnreadableCheckpointError, tf.errors.NotFoundError):
        if workers.any_of(trainer.strategy, tf.io.gfile.exists(path + ".index"))[0]:
            raise
        logging.warning(
            "%s was deleted before it could be evaluated; waiting for the next one. A larger Trainer.keep_checkpoints in the "
            "training run leaves more time.",
            path,
        )
        return {}


def _follow(trainer: Trainer, model_dir: Path) -> Iterator[str]:
    """Yield each new checkpoint, up to that of the last train step or that at which an action has stopped the training.

    The chief finds it, and tells the others.
    """
    folder, found = model_dir / run_files.CHECKPOINTS, None
    if workers.is_chief(trainer.strategy):
        if latest(folder) is None:
            print(f"Waiting for a checkpoint in {folder} ...", flush=True)
        found = tf.train.checkpoints_iterator(
            str(folder),
            min_interval_secs=_POLL_SECONDS,
            timeout=_POLL_SECONDS,
            timeout_fn=lambda: _is_stopped_at(model_dir, trainer.step),
        )
    while path := workers.from_chief(trainer.strategy, found and next(found, None)):
        yield path
        if trainer.step >= trainer.train_steps:
            return


def _is_stopped_at(model_dir: Path, step: int) -> bool:
    """Return whether the last training in the folder was stopped by an action at this step, as `run.json` says."""
    try:
        reason = run_files.read_record(model_dir)["exit_reason"] or ""
    except (OSError, ValueError, KeyError):
        return False
    return reason.startswith(f"stopped at step {step}: ")


def _predict(trainer: Trainer, model_dir: Path, checkpoint: str, format: Format) -> None:
    """Write `predictions/NAME.FORMAT` per eval dataset."""
    for name, dataset in trainer.eval_datasets.items():
        found = trainer.predict(dataset, checkpoint, output=model_dir / run_files.PREDICTIONS / f"{name}.{format}")
        if workers.is_chief(trainer.strategy):
            print(f"Predictions for {name}: {found}")


def _export(trainer: Trainer, model_dir: Path, checkpoint: str) -> None:
    """Write `export/`."""
    found = trainer.export(model_dir / "export", checkpoint)
    if workers.is_chief(trainer.strategy):
        print(f"Exported to {found}: {', '.join(sorted(path.name for path in found.iterdir()))}")


def _replay(trainer: Trainer, model_dir: Path, step: int) -> None:
    """Write `replay/step-N/`."""
    found = trainer.replay(step)
    with first_write(model_dir):
        folder = found.write(model_dir / "replay" / f"step-{step}")
    print(
        "\n".join(
            [*in_short(found.facts()), f"Written to {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}"]
        )
    )


def _make(folder: Path, model_dir: Path) -> None:
    with first_write(model_dir):
        folder.mkdir(parents=True, exist_ok=True)


def check(trainer: Trainer) -> bool:
    """Print one line per number: on one replica, cut over three, the difference, the verdict. Return whether all agree."""
    comparisons = trainer.check()
    width = max(len(each.name) for each in comparisons)
    print(f"{'':{width}}  {'1 replica':>14}  {'cut over 3':>14}  {'difference':>10}  verdict")
    for each in comparisons:
        verdict = "same" if each.same else "DIFFERENT"
        difference = abs(each.one - each.cut)
        print(f"{each.name:{width}}  {each.one:14.8g}  {each.cut:14.8g}  {difference:10.2g}  {verdict}")
    hints = [each.hint for each in comparisons if not each.same]
    print("\n" + ("\n".join(hints) if hints else "All numbers are the same however the data is cut."))
    return not hints


def dry_run(mode: Mode, trainer: Trainer) -> None:
    """Run one train step and one eval step on the real input, as far as the mode has them, and print model and metrics."""
    summaries = trainer.dry_run(**loops(mode))
    trainer.model.summary()
    for summary in summaries:
        print(f"\n{summary.split} metrics:")
        for path, value in sorted(summary.metrics.items()):
            print(f"  {path} = {value}")
