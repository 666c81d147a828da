"""Rows by number from memory-mapped arrays, beside the same arrays in memory: reading alone, and in a training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input, npy
from tallyloop.trainer import Task, Trainer, one_device

from ..harness.paired import Calls, Contestant, Gated
from .in_memory import arrays, of_arrays
from .loops import LOOP, Settled, by_input

BATCH = 64
HIDDEN = 256  # a step of about a millisecond on 2 cores
WAIT = 1e-3  # seconds
TRAINING_LAP = 500  # steps
ADDED = 2000  # numbers a row, which takes Python a tenth of a millisecond
SLOW_STEPS = 40  # per lap, of which a few are read ahead
_PAUSE = 0.3  # seconds, in which these are read
_ENDLESS = 10**9  # steps


def floats() -> dict[str, np.ndarray]:
    """Return rows of 64 floats and a label."""
    return arrays(100_000, 64)


def pictures() -> dict[str, np.ndarray]:
    """Return rows of 32 x 32 x 3 bytes and a label."""
    chance = np.random.default_rng(0)
    return {"x": chance.integers(0, 256, (50_000, 32, 32, 3), np.uint8), "y": chance.integers(0, 10, 50_000)}


def saved(rows: Mapping[str, np.ndarray], folder: Path) -> Path:
    """Write the rows into a folder for `npy`, and return it."""
    folder.mkdir()
    for name, array in rows.items():
        np.save(folder / name, array)
    return folder


def mapped(folder: Path) -> Input:
    """Return an Input of full batches of shuffled rows of a folder, by number."""
    return Input(npy(folder), BATCH, shuffle=True, drop_remainder=True)


def reading(rows: dict[str, np.ndarray], folder: Path, loops: int) -> dict[str, Contestant]:
    """Return the reading of rows in memory, and by number from a new folder; a lap is `loops` loops."""
    data = {"memory": of_arrays(rows, BATCH), "disk": mapped(saved(rows, folder))}
    return {name: Settled(Calls(by_input(each, loops), loops * LOOP)) for name, each in data.items()}


def transforming(folder: Path) -> dict[str, Contestant]:
    """Return the reading of rows that Python transforms, holding the interpreter: in two threads, and in two processes."""
    saved(floats(), folder)

    def slow(example, rng):  # not of this module, which the processes would import, and TensorFlow with it
        return {**example, "x": example["x"] + np.float32(1e-9 * sum(k * k for k in range(ADDED)))}

    def run(processes: int) -> Callable[[], None]:
        data = Input(npy(folder), BATCH, drop_remainder=True, transform=slow, read_processes=processes)
        return by_input(data, 1, SLOW_STEPS)

    return {name: Settled(Calls(run(count), SLOW_STEPS), _PAUSE) for name, count in (("threads", 0), ("processes", 2))}


class Dense(Task):
    """Classifies rows of 64 floats by an MLP, which takes all cores."""

    def build_model(self) -> keras.Model:
        """Return the MLP."""
        layers = [keras.Input((64,)), *(keras.layers.Dense(HIDDEN, "relu") for _ in range(2)), keras.layers.Dense(10)]
        return keras.Sequential(layers)

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropy of each example."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


class Waiting(Dense):
    """Waits for each batch as for an accelerator: the cores are idle meanwhile."""

    def build_model(self) -> keras.Model:
        """Return a linear model."""
        return keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropy of each example."""
        x = tf.numpy_function(_waited, [batch["x"]], tf.float32)
        return super().loss(model, {**batch, "x": tf.ensure_shape(x, batch["x"].shape)}, training)


def _waited(x: np.ndarray) -> np.ndarray:
    time.sleep(WAIT)
    return x


def training(folder: Path, task: type[Task]) -> dict[str, Contestant]:
    """Return the same training, fed from memory and by number from a new folder."""
    rows = floats()
    data = {"memory": of_arrays(rows, BATCH), "disk": mapped(saved(rows, folder))}
    return {name: Settled(Gated(_trained(each, task()), TRAINING_LAP)) for name, each in data.items()}


def _trained(data: Input, task: Task) -> Callable[[Callable[[], None]], None]:
    def run(halt: Callable[[], None]) -> None:
        def halt_at_lap(trainer, summary) -> None:
            if summary.step % TRAINING_LAP == 0:
                halt()

        Trainer(
            task=task,
            optimizer=keras.optimizers.SGD(1e-3),
            strategy=one_device(),
            train_dataset=data,
            train_steps=_ENDLESS,
            steps_per_loop=LOOP,
            summary_interval=LOOP,
            actions=[halt_at_lap],
        ).train()

    return run
