"""Small data, models and trajectories, and how each side trains and evaluates them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer

BATCH = 16
RATE = 0.02
Data = Mapping[str, np.ndarray]


@functools.cache
def strategy(replicas: int) -> tf.distribute.Strategy:
    """Replicas on virtual CPUs; one is TensorFlow's default, without any strategy."""
    if replicas == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


def rows(n: int) -> Data:
    """x (n, 3) and y (n,); y is not linear in x, so no gradient vanishes."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return {"x": x, "y": (x @ [1, -2, 3] + 5 * x[:, 0] ** 2 + 1).astype(np.float32)}


def linear() -> keras.Model:
    """One output, from zero weights: predicts 0 until it is trained."""
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros", name="dense")])


def sgd() -> keras.optimizers.Optimizer:
    """Plain gradient descent."""
    return keras.optimizers.SGD(RATE)


class LeastSquares(Task):
    """The squared error of each example.

    Args:
      build: makes the model; its output is (batch, 1).
      metrics: of the task.
    """

    def __init__(self, build: Callable[[], keras.Model] = linear, metrics: Mapping[str, Any] | None = None):
        self._build = build
        self.metrics = metrics or {}

    def build_model(self) -> keras.Model:
        """The model."""
        return self._build()

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """The errors, and the predictions for the metrics."""
        predicted = model(batch["x"], training=training)
        return (predicted[:, 0] - batch["y"]) ** 2, predicted


def batches(data: Data, steps: int, size: int = BATCH) -> Iterator[Data]:
    """The batches of these steps, in order; an epoch's last one is short."""
    starts = range(0, len(data["x"]), size)
    for step in range(steps):
        start = starts[step % len(starts)]
        yield {key: value[start : start + size].astype(np.float64) for key, value in data.items()}


def gradient(w: np.ndarray, batch: Data) -> np.ndarray:
    """d/dw of the mean of (x w + b - y)^2; w is (w_1, w_2, w_3, b)."""
    x = np.concatenate([batch["x"], np.ones([len(batch["x"]), 1])], 1)
    return 2 * (x @ w - batch["y"]) @ x / len(x)


def descend(data: Data, steps: int, change: Callable[[np.ndarray], np.ndarray] = lambda g: g) -> np.ndarray:
    """The weights after gradient descent on one replica, in NumPy; `change` clips the gradient."""
    w = np.zeros(4)
    for batch in batches(data, steps):
        w = w - RATE * change(gradient(w, batch))
    return w


def fitted(replicas: int, data: Data, steps: int, build=linear, optimizer=sgd, loss="mse", **options) -> keras.Model:
    """The model after Keras `fit` of whole epochs of `steps` steps; `options` go to `compile`."""
    epochs, left = divmod(steps, -(-len(data["x"]) // BATCH))
    assert left == 0, "whole epochs only"
    model = compiled(replicas, build, optimizer, loss, **options)
    model.fit(data["x"], data["y"], batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0)
    return model


def compiled(replicas: int, build=linear, optimizer=sgd, loss="mse", metrics=(), **options) -> keras.Model:
    """A compiled model, made under the strategy's scope as the guides say; `metrics` makes each of them."""
    with strategy(replicas).scope():
        model = build()
        model.compile(optimizer(), loss, metrics=[make() for make in metrics], **options)
    return model


def evaluated(model: keras.Model, data: Data) -> dict[str, float]:
    """What Keras `evaluate` gives."""
    return model.evaluate(data["x"], data["y"], batch_size=BATCH, verbose=0, return_dict=True)


def trainer(replicas: int, data: Any, steps: int = 1, task: Task | None = None, optimizer=sgd, **options) -> Trainer:
    """A Tallyloop Trainer on the same data, in order."""
    return Trainer(
        task=task or LeastSquares(),
        optimizer=optimizer,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0") if replicas == 1 else strategy(replicas),
        train_dataset=Input(data, BATCH),
        eval_datasets={"test": Input(data, BATCH)},
        train_steps=steps,
        **options,
    )


def trained(replicas: int, data: Any, steps: int, **arguments) -> keras.Model:
    """The model after Tallyloop's training."""
    run = trainer(replicas, data, steps, **arguments)
    run.train()
    return run.model


def weights(model: keras.Model) -> np.ndarray:
    """All trainable weights as one vector."""
    return np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables]).astype(np.float64)


def difference(model: keras.Model, expected: np.ndarray) -> float:
    """dW: the largest difference of a weight."""
    return float(np.abs(weights(model) - expected).max())
