"""The training of the scaling table, timed lap by lap: `python -m benchmarks.scaling.training WORKERS REPLICAS SIZE`.

WORKERS is 0 for one process without a cluster (`MirroredStrategy`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer, mirrored, multi_worker_mirrored
from tallyloop.trainer.distribution import workers

from ..harness.child import run_in_laps

EXAMPLES, FEATURES, CLASSES, VALUES = 4096, 64, 10, 255
METRICS = 16
ENDLESS = 10**9  # steps


class Size(NamedTuple):
    """A model, its global batch, and the steps per loop and per lap."""

    hidden: tuple[int, ...]
    batch: int
    loop: int
    lap: int


SIZES = {
    "small": Size((128,), batch=64, loop=50, lap=400),
    "large": Size((1024, 1024), batch=512, loop=10, lap=20),
}


class Scaled(Task):
    """Classifies noise, with `count` metrics, the loss among them, whose values are already in the batch."""

    def __init__(self, hidden: tuple[int, ...], count: int):
        self._hidden = hidden
        self._count = count

    def build_model(self) -> keras.Model:
        """Return an MLP."""
        layers = [keras.layers.Dense(width, "relu") for width in self._hidden]
        return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(CLASSES)])

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return the cross-entropy of each example."""
        for i, values in enumerate(tf.unstack(batch["values"], axis=1)[: self._count - 1]):
            metrics.add(f"value_{i}", values)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


def make_strategy(workers: int, replicas: int) -> tf.distribute.Strategy:
    """Return a strategy with this many replicas on this worker; call it before anything else uses TensorFlow."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return multi_worker_mirrored() if workers else mirrored()


def trainer(
    size: Size, count: int, strategy: tf.distribute.Strategy, actions: Sequence[Callable[[Any, Any], None]] = ()
) -> Trainer:
    """Return a Trainer with `count` metrics that writes no files."""
    chance = np.random.default_rng(0)
    rows = {
        "x": chance.random((EXAMPLES, FEATURES), np.float32),
        "y": chance.integers(0, CLASSES, EXAMPLES),
        "values": chance.random((EXAMPLES, VALUES), np.float32),
    }
    return Trainer(
        task=Scaled(size.hidden, count),
        optimizer=keras.optimizers.SGD(1e-3),
        strategy=strategy,
        train_dataset=Input(rows, size.batch, shuffle=True, drop_remainder=True),
        train_steps=ENDLESS,
        steps_per_loop=size.loop,
        summary_interval=min(size.lap, 100),
        actions=actions,
    )


def main(count: int, replicas: int, name: str) -> None:
    """Train forever; the chief halts after each lap, and so makes the other workers wait."""
    size, strategy = SIZES[name], make_strategy(count, replicas)

    def run(halt: Callable[[], None]) -> None:
        def halt_at_lap(trainer, summary) -> None:
            if summary.step % size.lap == 0:
                halt()

        trainer(size, METRICS, strategy, [halt_at_lap]).train()

    if workers.is_chief(strategy):
        run_in_laps(run)
    else:
        run(lambda: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
