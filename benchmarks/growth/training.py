"""A training of a given size that measures its costs: `python -m benchmarks.growth.training AXIS SIZE WORKERS`."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics.writers import Summary
from tallyloop.trainer import Task, Trainer

from ..harness.child import answer, peak_memory, reset_peak_memory, resident_memory
from ..scaling.counts import reductions
from ..scaling.training import make_strategy

FEATURES, CLASSES, BATCH = 64, 10, 16
LAPS = 6  # the first one is the start


class Size(NamedTuple):
    """Everything that can grow; the defaults are where the others stand while one grows.

    Attributes:
      parameters: about so many, of a multilayer perceptron with two equal hidden layers.
      metrics: the loss among them.
      replicas: per worker.
      workers: processes; 0 is one process without a cluster.
      rows: of the data, read by number from a source that makes them; 0 is arrays in memory.
      vocabulary: rows of an embedding; 0 is the perceptron.
      steps: of the run.
    """

    parameters: int = 10_000
    metrics: int = 16
    replicas: int = 1
    workers: int = 0
    rows: int = 0
    vocabulary: int = 0
    steps: int = LAPS * 100


class Rows:
    """So many rows, made as they are read."""

    def __init__(self, length: int):
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {"x": np.full(FEATURES, row % 7, np.float32), "y": np.int64(row % CLASSES)}


IDS, WIDTH = 8, 64  # of a row that looks up in the vocabulary


class Looked(Task):
    """Classifies rows of ids.

    Args:
      vocabulary: the number of ids.
    """

    def __init__(self, vocabulary: int):
        self._vocabulary = vocabulary

    def build_model(self) -> keras.Model:
        """Return the mean of the rows of an embedding, classified."""
        layers = [keras.layers.Embedding(self._vocabulary, WIDTH), keras.layers.GlobalAveragePooling1D()]
        return keras.Sequential([keras.Input((IDS,), dtype="int32"), *layers, keras.layers.Dense(CLASSES)])

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropies."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


class Grown(Task):
    """Classifies rows.

    Args:
      size: of the model and of its metrics.
    """

    def __init__(self, size: Size):
        self._size = size

    def build_model(self) -> keras.Model:
        """Return the perceptron, as wide as the parameters ask for."""
        both = FEATURES + CLASSES
        width = round((math.sqrt(both**2 + 4 * self._size.parameters) - both) / 2)
        layers = [keras.layers.Dense(width, "relu") for _ in range(2)]
        return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(CLASSES)])

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropies; record values of the batch as the other metrics."""
        for i in range(self._size.metrics - 1):
            metrics.add(f"value_{i}", batch["x"][:, i % FEATURES])
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


def size_of(axis: str, size: int) -> Size:
    """Return the size of a training on an axis; "parameters, 2 replicas" grows the first on so many of the second."""
    name, _, rest = axis.partition(", ")
    found = Size()._replace(**{name: size})
    if rest:
        count, of = rest.split()
        found = found._replace(**{of: int(count)})
    return found._replace(steps=LAPS * 5) if name == "parameters" else found


def measure(size: Size, folder: Path) -> dict[str, float]:
    """Train, and return the costs.

    Returns:
      `start`, the seconds to build, trace and train the first lap; `step`, the median seconds per step of a later lap;
      `memory`, the bytes by which the largest resident memory exceeds that before the training; `checkpoint`, the bytes of
      the last one; `reduced`, the bytes that a replica's step sends. A graph does not tell how many rows of an embedding these
      are: there, what passes between the workers is counted, that of other programs on this machine included.
    """
    strategy = make_strategy(size.workers, size.replicas)
    passed: list[int] = []
    before, times = resident_memory(), [time.perf_counter()]
    reset_peak_memory()
    lap = size.steps // LAPS

    def note(trainer: Trainer, summary: Summary) -> None:
        times.append(time.perf_counter())
        if size.vocabulary:
            passed.append(_bytes_between_workers())

    trainer = Trainer(
        task=Looked(size.vocabulary) if size.vocabulary else Grown(size),
        optimizer=keras.optimizers.Adagrad(1e-2) if size.vocabulary else keras.optimizers.SGD(1e-3),
        strategy=strategy,
        train_dataset=_input(size),
        train_steps=LAPS * lap,
        steps_per_loop=min(lap, 50),
        summary_interval=lap,
        actions=[note],
        model_dir=folder,
    )
    trainer.train()
    laps = np.diff(times)
    return {
        "start": laps[0],
        "step": median(laps[1:]) / lap,
        "memory": peak_memory() - before,
        "checkpoint": _last_checkpoint(folder),
        "reduced": (
            median(np.diff(passed)) / lap / size.workers
            if size.vocabulary
            else sum(reductions(trainer._session.loop.graph))  # private: the Trainer shows no graphs
        ),
    }


def _bytes_between_workers() -> int:
    """Return the bytes that this machine has sent to itself."""
    counters = Path("/proc/net/dev").read_text()  # of Linux
    (loopback,) = (line for line in counters.splitlines() if line.strip().startswith("lo:"))
    return int(loopback.partition(":")[2].split()[8])


def _last_checkpoint(folder: Path) -> int:
    last = Path(tf.train.latest_checkpoint(folder / "checkpoints") or "")
    return sum(file.stat().st_size for file in last.parent.glob(f"{last.name}.*"))


def _input(size: Size) -> Input:
    source: Any = Rows(size.rows or 4096)
    if not size.rows:
        random = np.random.default_rng(0)
        x = random.random((len(source), FEATURES), np.float32)
        if size.vocabulary:
            x = random.integers(0, size.vocabulary, (len(source), IDS)).astype(np.int32)
        source = {"x": x, "y": np.arange(len(source)) % CLASSES}
    return Input(source, BATCH, shuffle=True, drop_remainder=True)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as path,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        found = measure(size_of(sys.argv[1], int(sys.argv[2])), Path(path))
    answer(found)
    sys.stdin.readline()  # until the parent closes it: another worker may not be done yet
