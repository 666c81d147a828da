"""Cases of layers that keep a state or draw random numbers: batch normalization and dropout."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import tensorflow as tf

from .case import Case
from .problem import LeastSquares, batches, difference, fitted, rows, sgd, trained, weights

# --- batch normalization: 17 rows are a batch of 16 and one of a single row ---

ROWS, STEPS, MOMENTUM = 17, 6, 0.9


def normalizing(synchronized: bool) -> keras.Model:
    """Return a model that normalizes its input, over each replica's rows or over all rows."""
    norm = keras.layers.BatchNormalization(momentum=MOMENTUM, synchronized=synchronized, name="norm")
    return keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(1, kernel_initializer="zeros")])


def moving_mean() -> np.ndarray:
    """Return the correct moving mean: of each step's mean over all rows, whichever replica has them."""
    mean = np.zeros(3)
    for batch in batches(rows(ROWS), STEPS):
        mean = MOMENTUM * mean + (1 - MOMENTUM) * batch["x"].mean(0)
    return mean


def one_device() -> keras.Model:
    """Return the model after a plain loop on one device, without a strategy."""
    model, optimizer = normalizing(False), sgd()
    for batch in batches(rows(ROWS), STEPS):
        x, y = (tf.constant(batch[key], tf.float32) for key in ("x", "y"))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True)[:, 0] - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return model


def _mean_difference(model: keras.Model) -> float:
    if not np.isfinite(weights(model)).all():
        return float("nan")
    return float(np.abs(model.get_layer("norm").moving_mean.numpy() - moving_mean()).max())


def _normalizer() -> keras.Model:
    return normalizing(False)


def _synchronized() -> keras.Model:
    return normalizing(True)


BATCH_NORM = Case(
    "BatchNormalization, an empty replica: error of the moving mean, or NaN weights",
    exact=lambda: 0.0,
    keras=lambda n: _mean_difference(fitted(n, rows(ROWS), STEPS, _normalizer)),
    tallyloop=lambda n: _mean_difference(trained(n, rows(ROWS), STEPS, task=LeastSquares(_normalizer))),
    form="{:.2g}",
)

SYNCHRONIZED = Case(
    "dW with BatchNormalization(synchronized=True), an empty replica",
    exact=lambda: 0.0,
    keras=lambda n: difference(fitted(n, rows(ROWS), STEPS, _synchronized), weights(one_device())),
    tallyloop=lambda n: difference(
        trained(n, rows(ROWS), STEPS, task=LeastSquares(_synchronized)), weights(one_device())
    ),
    form="{:.2g}",
)

# --- dropout ---

WIDTH, EXAMPLES = 4096, 4


def dropping() -> keras.Model:
    """Return a model that drops half of its input and predicts a weighted sum of the rest."""
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    return keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dropout(0.5, seed=1), dense])


def _powers() -> dict[str, np.ndarray]:
    """Return rows of which row i is all 10^i: the digits of the gradient of the summed predictions are the rows' masks."""
    x = np.repeat(10.0 ** np.arange(EXAMPLES)[:, None], WIDTH, 1).astype(np.float32)
    return {"x": x, "y": np.zeros(EXAMPLES, np.float32)}


def _agreement(model: keras.Model) -> float:
    """Return the largest fraction of positions that two rows both dropped or both kept."""
    summed = np.round(-weights(model) * EXAMPLES / 2).astype(int)  # kept values are doubled, and the loss is a mean
    masks = [summed // 10**i % 10 for i in range(EXAMPLES)]
    return max(float(np.mean(a == b)) for a, b in itertools.combinations(masks, 2))


def _unit_sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(1.0)


class PredictionTask(LeastSquares):
    """A task whose loss is the prediction."""

    def loss(self, model, batch, training):
        """Return one loss per example."""
        return model(batch["x"], training=training)[:, 0]


DROPOUT = Case(
    "dropout of one half: the largest agreement of two rows' masks",
    exact=lambda: 0.5,
    keras=lambda n: _agreement(fitted(n, _powers(), 1, dropping, _unit_sgd, lambda y, p: p[:, 0])),
    tallyloop=lambda n: _agreement(trained(n, _powers(), 1, task=PredictionTask(dropping), optimizer=_unit_sgd)),
    form="{:.2f}",
    tolerance=0.03,
)
