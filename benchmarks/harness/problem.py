"""The training that several tables share: an MLP 64-128-10 on the digits, global batch 64, plain SGD, 16 metrics."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input, digits
from tallyloop.trainer import Task

BATCH = 64
RATE = 0.01
HIDDEN, CLASSES = 128, 10
NAMES = ["loss", "accuracy", "confidence", "entropy", "probability", "brier", *(f"recall/{i}" for i in range(CLASSES))]


def arrays() -> dict[str, np.ndarray]:
    """Return the digits: `x` float32 (1437, 64), `y` int64 (1437,)."""
    return digits("train")


def build_model() -> keras.Model:
    """Return the MLP 64-128-10."""
    layers = [keras.Input((64,)), keras.layers.Dense(HIDDEN, "relu"), keras.layers.Dense(CLASSES)]
    return keras.Sequential(layers)


def losses_of(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return the cross-entropy of each example, float32 (batch,)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def sums(labels: tf.Tensor, logits: tf.Tensor, losses: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
    """Return the 16 metrics of `NAMES` for a batch: name -> (one value per example, weights or None)."""
    hits = tf.cast(tf.equal(tf.argmax(logits, -1), labels), tf.float32)
    logs = tf.nn.log_softmax(logits)
    probabilities = tf.exp(logs)
    right = tf.exp(-losses)
    found = {
        "loss": (losses, None),
        "accuracy": (hits, None),
        "confidence": (tf.reduce_max(probabilities, -1), None),
        "entropy": (-tf.reduce_sum(probabilities * logs, -1), None),
        "probability": (right, None),
        "brier": (tf.reduce_sum(probabilities**2, -1) - 2 * right + 1, None),
    }
    return found | {f"recall/{digit}": (hits, labels == digit) for digit in range(CLASSES)}


class Digits(Task):
    """Classifies digits, with the 16 metrics."""

    def build_model(self) -> keras.Model:
        """Return the MLP."""
        return build_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return one loss per example; record the other 15 metrics."""
        logits = model(batch["x"], training=training)
        losses = losses_of(batch["y"], logits)
        for name, (values, weights) in sums(batch["y"], logits, losses).items():
            if name != "loss":
                metrics.add(name, values, weights=weights)
        return losses


class Many(Task):
    """Classifies digits, with `count` metrics whose values are already in memory: only recording them takes time."""

    def __init__(self, count: int):
        self._count = count
        self._values = tf.Variable(np.random.default_rng(0).random((count - 1, BATCH), np.float32), trainable=False)

    def build_model(self) -> keras.Model:
        """Return the MLP."""
        return build_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tf.Tensor:
        """Return one loss per example; record the other metrics."""
        for i, values in enumerate(tf.unstack(self._values)):
            metrics.add(f"value_{i}", values)
        return losses_of(batch["y"], model(batch["x"], training=training))


def train_input() -> Input:
    """Return the digits shuffled, in full batches like those of the handwritten loops."""
    return Input(arrays, BATCH, shuffle=True, drop_remainder=True)


def streamed_input() -> Input:
    """Return the digits as a stream, in full batches."""
    return Input(tf.data.Dataset.from_tensor_slices(arrays()).cache(), BATCH, shuffle=False, drop_remainder=True)


def shuffled(chance: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Return the shuffled row numbers of `steps` batches, epoch after epoch of `rows` rows: int64 (steps, BATCH)."""
    epochs = -(-steps * BATCH // rows)
    return np.concatenate([chance.permutation(rows) for _ in range(epochs)])[: steps * BATCH].reshape(steps, BATCH)


def dataset() -> tf.data.Dataset:
    """Return the digits as the handwritten loops read them, in the form that TensorFlow's guides teach."""
    data = tf.data.Dataset.from_tensor_slices(arrays()).cache().shuffle(2000).repeat()
    return data.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
