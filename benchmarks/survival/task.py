"""The training that is killed: small, with everything that a run has to remember, and slowed down on request.

SURVIVAL_PAUSE in the environment is the time of a step in seconds. Every change of the run's folder takes half of that in
addition, as on a slow disk, so that kills also land between two such changes. 0, the default, is full speed. The numbers are the
same at any speed.
"""

from __future__ import annotations

import os
import time

import gin
import keras
import tensorflow as tf
from tallyloop.trainer import Task

from .sources import CLASSES, FEATURES, arrays

_PAUSE = float(os.environ.get("SURVIVAL_PAUSE", "0"))


@gin.register(module="survival")
class Classes(Task):
    """Classifies points; its state is weights, moving statistics and the seeds of dropout."""

    def __init__(self):
        self.metrics = {"accuracy": lambda batch, outputs: (_hits(batch, outputs), tf.size(batch["y"]))}

    def build_model(self) -> keras.Model:
        """Return a small network with BatchNormalization and dropout."""
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((FEATURES,)),
                layers.Dense(16, "relu"),
                layers.BatchNormalization(),
                layers.Dropout(0.3),
                layers.Dense(CLASSES),
            ]
        )

    def loss(self, model, batch, training):
        """Return the cross-entropies and the logits, after a pause."""
        with tf.control_dependencies([tf.numpy_function(_pause, [], [])] if _PAUSE else []):
            logits = model(tf.ensure_shape(batch["x"], [None, FEATURES]), training=training)
        return keras.losses.sparse_categorical_crossentropy(batch["y"], logits, from_logits=True), logits


@gin.register(module="survival")
def stream(seed: int = 0) -> tf.data.Dataset:
    """Return the points as a stream, whose position is the state of its iterator."""
    return tf.data.Dataset.from_tensor_slices(arrays(seed))


@gin.register(module="survival")
def shard(shard: int, shards: int) -> tf.data.Dataset:
    """Return every so many-th point."""
    return stream().shard(shards, shard)


@gin.register(module="survival")
def noisy(example):
    """Add noise to an example that depends only on its number."""
    noise = tf.random.stateless_normal([FEATURES], [7, tf.cast(example["number"], tf.int32)])
    return {**example, "x": example["x"] + 0.1 * noise}


def _hits(batch, logits):
    return tf.reduce_sum(tf.cast(tf.argmax(logits, 1, tf.int32) == batch["y"], tf.float32))


def _pause() -> None:
    time.sleep(_PAUSE)


def _slow(call):
    def slowed(*arguments, **keywords):
        time.sleep(_PAUSE / 2)
        return call(*arguments, **keywords)

    return slowed


if _PAUSE:
    for _name in ("replace", "fsync", "unlink"):
        setattr(os, _name, _slow(getattr(os, _name)))
