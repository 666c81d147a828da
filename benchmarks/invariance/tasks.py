"""The tasks: small networks on digits."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf
from tallyloop import metrics
from tallyloop.models import InvariantDropout
from tallyloop.trainer import Task

CLASSES, WIDTH, RATE = 10, 24, 0.25
# tanh: a relu at 0 turns a rounding difference into a difference of the gradient.
SMOOTH = "tanh"


def network(dtype: str | None = None) -> keras.Model:
    """Return a network with two hidden layers of this dtype policy."""
    hidden = [keras.layers.Dense(WIDTH, SMOOTH, dtype=dtype, name=f"hidden_{i}") for i in (1, 2)]
    return _model(*hidden)


def bfloat16_network() -> keras.Model:
    """Return a network whose hidden layers compute in bfloat16, with float32 weights."""
    return network("mixed_bfloat16")


def dropping() -> keras.Model:
    """Return a network that drops a quarter of the hidden units."""
    hidden = keras.layers.Dense(WIDTH, SMOOTH, name="hidden")
    return _model(hidden, InvariantDropout(RATE, seed=3, name="dropout"))


def normalizing() -> keras.Model:
    """Return a network that normalizes the hidden units over the whole batch, across replicas."""
    # Without a bias, which the normalization would subtract again: its gradient would be nothing but rounding.
    hidden = keras.layers.Dense(WIDTH, use_bias=False, name="hidden")
    norm = keras.layers.BatchNormalization(momentum=0.9, synchronized=True, name="norm")
    return _model(hidden, norm, keras.layers.Activation(SMOOTH))


def embedding() -> keras.Model:
    """Return a network that looks up each pixel's place and brightness in a table so large that its gradient stays rows."""
    pixels = keras.Input((64,))
    ids = keras.ops.cast(pixels * 16, "int32") + 17 * keras.ops.arange(64, dtype="int32")
    rows = keras.layers.Embedding(2**15, 16, name="table")(ids)
    logits = keras.layers.Dense(CLASSES, name="logits")(keras.ops.mean(rows, 1))
    return keras.Model(pixels, logits, name="network")


def _model(*layers: keras.layers.Layer) -> keras.Model:
    logits = keras.layers.Dense(CLASSES, name="logits")
    # Variables are compared by their paths, and Keras would number the models of a process: so the model needs a name.
    return keras.Sequential([keras.Input((64,)), *layers, logits], name="network")


class DigitsTask(Task):
    """Classifies digits, with the accuracy, that of each class, and the AUC of "the digit is below 5".

    Args:
      build: makes the model.
    """

    def __init__(self, build: Callable[[], keras.Model] = network):
        self._build = build
        # Made with the task, not on import: a worker must join its cluster before any variable exists.
        self.metrics = {"auc": metrics.KerasMetric(keras.metrics.AUC(), labels="low", predictions="low")}

    def build_model(self) -> keras.Model:
        """Return the model."""
        return self._build()

    def loss(self, model, batch, training):
        """Return the cross-entropies, and the probability of a digit below 5."""
        logits = model(batch["x"], training=training)
        self._record(logits, batch)
        losses = keras.losses.sparse_categorical_crossentropy(batch["y"], logits, from_logits=True)
        low = tf.reduce_sum(tf.nn.softmax(logits)[:, : CLASSES // 2], -1)
        return self._summed(losses, batch), {"low": low}

    def _summed(self, losses, batch):
        return losses

    def _weights(self, batch):
        return None

    def _record(self, logits, batch) -> None:
        right = tf.cast(tf.argmax(logits, -1) == batch["y"], tf.float32)
        weights, classes = self._weights(batch), tf.one_hot(batch["y"], CLASSES)
        metrics.add("accuracy", right, weights)
        by_class = classes if weights is None else classes * weights[:, None]
        metrics.add("accuracy_of", right[:, None] * classes, by_class, finish="per_class")


class MaskedTask(DigitsTask):
    """Classifies digits, with the mean loss over the examples that the mask keeps."""

    def _summed(self, losses, batch):
        return metrics.Tally(tf.reduce_sum(losses * batch["mask"]), tf.reduce_sum(batch["mask"]))

    def _weights(self, batch):
        return batch["mask"]


class CarelessTask(DigitsTask):
    """A deliberate mistake that the comparison has to find: the mean over each replica's share as if it were one loss."""

    def _summed(self, losses, batch):
        return metrics.Tally(tf.reduce_mean(losses), tf.ones([]))
