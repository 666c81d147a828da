"""What a run shows: its console, and what it says when it ends."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from ...metrics.terminal.console import ConsoleWriter
from ...metrics.terminal.text import duration, number, spent
from ...metrics.writers.better import Mode
from ...metrics.writers.run_files import CHECKPOINTS, METRICS
from ..checkpointing.retention import Retention
from .schedule import TrainLength
from .steering import Steering


def console_of(trainer: Steering, stream: TextIO | None, sides: Mapping[str, Mode]) -> ConsoleWriter:
    """Return the console of a run.

    Args:
      trainer: the run's.
      stream: where to; None shows nothing.
      sides: which side of a metric is better, where that is known.
    """
    metrics = None if trainer.model_dir is None else trainer.model_dir / METRICS
    batch_size = trainer.session.global_batch_size
    return ConsoleWriter(stream, trainer.train_steps, batch_size, sides=sides, metrics=metrics)


def last_lines(trainer: Steering, length: TrainLength, retention: Retention, seconds: Mapping[str, float]) -> list[str]:
    """Return where the time went, where everything lies, and how to train on; nothing of a run without a folder.

    Args:
      trainer: the run's.
      length: how long it was to train.
      retention: which checkpoints it has kept.
      seconds: what the time was spent on -> seconds.
    """
    if trainer.model_dir is None:
        return []
    kinds = ", ".join(f"{kind} {spent(each)}" for kind, each in seconds.items() if each >= 0.05)
    lines = [f"Time: {duration(sum(seconds.values()))}", *([f"  {kinds}"] if kinds else [])]
    best = retention.record()
    lines.append(f"Checkpoint: {trainer.model_dir / CHECKPOINTS / f'ckpt-{trainer.step}'}")
    if best:
        path = trainer.model_dir / CHECKPOINTS / best["checkpoint"]
        lines.append(f"Best: {path}, {best['metric']} {number(best['value'])}")
    lines.append(f"Metrics: {trainer.model_dir / 'metrics.jsonl'}")
    # The folder above: in a run alone, TensorBoard's HParams finds no metrics.
    above = trainer.model_dir.parent if trainer.model_dir.name else trainer.model_dir.absolute().parent
    lines.append(f"Look: {shlex.join(['tensorboard', f'--logdir={above}'])}")
    return [*lines, *_train_on(trainer, length)]


def command_line(*without: str) -> str | None:
    """Return the command line of this process, less some flags or bindings; None if it isn't ours.

    Args:
      without: those that are left out, such as `--workers` or `--gin_param=Trainer.train_steps`.
    """
    program = Path(sys.argv[0])
    if program.parts[-2:] == ("trainer", "__main__.py"):
        start = ["python", "-m", "tallyloop.trainer"]
    elif program.name == "tallyloop":
        start = ["tallyloop"]
    else:
        return None
    given = iter(sys.argv[1:])
    for each in given:
        if each in without:
            next(given, None)  # its value
        elif not each.startswith(tuple(f"{name}=" for name in without)):
            start.append(each)
    return shlex.join(start)


def _train_on(trainer: Steering, length: TrainLength) -> list[str]:
    """Return a line; none where an action has ended the run, and may do so again: its reason says what to do."""
    if trainer.stopped is not None:
        return []
    if trainer.step < trainer.train_steps:
        return [f"Train on: {command_line() or 'the same program'}"]
    name, value = length.doubled
    given = command_line(f"--gin_param=Trainer.{name}")
    more = f"{given} --gin_param=Trainer.{name}={value}" if given else f"the same program with {name}={value}"
    return [f"Train on: {more}"]
