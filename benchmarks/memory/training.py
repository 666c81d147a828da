"""A long training that reports its memory: `python -m benchmarks.memory.training FOLDER SETTING STEPS EARLY`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input, digits
from tallyloop.trainer import Trainer, mirrored, one_device

from ..harness.child import answer, resident_memory
from ..harness.problem import BATCH, Digits, arrays, streamed_input, train_input

_TOLD = 20  # how often the memory is told on the way: whether it grows, or has settled
EVENTS = 4  # evaluations, and as many saves, before the early step


def measure(folder: Path, setting: str, steps: int, early: int) -> dict[str, int]:
    """Return the resident memory in bytes after `early` and after `steps` steps, each right after a save and an evaluation."""
    found: dict[str, int] = {}

    def note(trainer, summary) -> None:
        if summary.split != "eval":
            return
        if summary.step in (early, steps):
            found[f"{summary.step}"] = resident_memory()
        if summary.step % (steps // _TOLD) == 0:
            print(f"{setting}, step {summary.step}: {resident_memory() / 1e6:.1f} MB", file=sys.stderr, flush=True)

    _trainer(folder, setting, steps, early // EVENTS, note).train_and_eval()
    return found


def _trainer(folder: Path, setting: str, steps: int, interval: int, action: Callable[[Any, Any], None]) -> Trainer:
    return Trainer(
        task=Digits(),
        optimizer=keras.optimizers.SGD(0.01),
        strategy=mirrored() if setting == "2 replicas" else one_device(),
        train_dataset=_data(setting),
        eval_datasets={"test": Input(lambda: digits("test"), BATCH)},
        train_steps=steps,
        eval_interval=interval,
        checkpoint_interval=interval,
        jit_compile=setting == "jit_compile",
        actions=[action],
        model_dir=folder,
    )


class _Rows:
    def __init__(self):
        self._arrays = arrays()

    def __len__(self) -> int:
        return len(self._arrays["y"])

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: array[row] for name, array in self._arrays.items()}


def _data(setting: str) -> Input:
    if setting == "stream":
        return streamed_input()
    return Input(_Rows(), BATCH, shuffle=True, drop_remainder=True) if setting == "rows by number" else train_input()


if __name__ == "__main__":
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    path, name, *numbers = sys.argv[1:]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = measure(Path(path), name, *map(int, numbers))
    answer(found)
