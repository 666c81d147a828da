"""What `benchmarks.scaling` trains, on so many replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer, mirrored, multi_worker_mirrored

EXAMPLES, FEATURES, CLASSES, VALUES = 4096, 64, 10, 255
ENDLESS = 10**9  # steps


class Size(NamedTuple):
    """A model, its batch and how long it is timed."""

    hidden: tuple[int, ...]
    batch: int
    loop: int  # steps
    lap: int  # steps


SIZES = {
    "small": Size((128,), batch=64, loop=50, lap=400),
    "large": Size((1024, 1024), batch=512, loop=10, lap=20),
}


class Scaled(Task):
    """With `count` metrics, the loss among them, whose values are in the batch already."""

    def __init__(self, hidden: tuple[int, ...], count: int):
        self._hidden = hidden
        self._count = count

    def build_model(self) -> keras.Model:
        """An MLP."""
        layers = [keras.layers.Dense(width, "relu") for width in self._hidden]
        return keras.Sequential([keras.Input((FEATURES,)), *layers, keras.layers.Dense(CLASSES)])

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Cross-entropy."""
        for i, values in enumerate(tf.unstack(batch["values"], axis=1)[: self._count - 1]):
            metrics.add(f"value_{i}", values)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], model(batch["x"], training=training))


def strategy(workers: int, replicas: int) -> tf.distribute.Strategy:
    """Of so many replicas on this worker; must be called before TensorFlow is used."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return multi_worker_mirrored() if workers else mirrored()


def trainer(
    size: Size, count: int, strategy: tf.distribute.Strategy, actions: list[Callable[[Any, Any], None]] = ()
) -> Trainer:
    """One that writes nothing."""
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
