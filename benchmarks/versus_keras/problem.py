"""Small data, a model and its exact trajectory, and how each side trains and evaluates it."""

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
    """Return a strategy on virtual CPUs; for one replica TensorFlow's default, as without any strategy."""
    if replicas == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])


def rows(n: int) -> Data:
    """Return `x` float32 (n, 3) and `y` float32 (n,); y is not linear in x, so no gradient vanishes."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return {"x": x, "y": (x @ [1, -2, 3] + 5 * x[:, 0] ** 2 + 1).astype(np.float32)}


def linear() -> keras.Model:
    """Return a linear model with zero weights, which predicts 0 until it is trained."""
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros", name="dense")])


def sgd() -> keras.optimizers.Optimizer:
    """Return plain gradient descent."""
    return keras.optimizers.SGD(RATE)


class LeastSquares(Task):
    """The squared error of each example.

    Args:
      build: makes the model, whose output is (batch, 1).
      metrics: of the task.
    """

    def __init__(self, build: Callable[[], keras.Model] = linear, metrics: Mapping[str, Any] | None = None):
        self._build = build
        self.metrics = metrics or {}

    def build_model(self) -> keras.Model:
        """Return the model."""
        return self._build()

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return the errors, and the predictions for the metrics."""
        predicted = model(batch["x"], training=training)
        return (predicted[:, 0] - batch["y"]) ** 2, predicted


def batches(data: Data, steps: int, size: int = BATCH) -> Iterator[Data]:
    """Yield the batches of `steps` steps in order, as float64; the last one of an epoch is short."""
    starts = range(0, len(data["x"]), size)
    for step in range(steps):
        start = starts[step % len(starts)]
        yield {key: value[start : start + size].astype(np.float64) for key, value in data.items()}


def gradient(w: np.ndarray, batch: Data) -> np.ndarray:
    """Return d/dw of the mean of (x w + b - y)^2; w is (w_1, w_2, w_3, b)."""
    x = np.concatenate([batch["x"], np.ones([len(batch["x"]), 1])], 1)
    return 2 * (x @ w - batch["y"]) @ x / len(x)


def descend(data: Data, steps: int, change: Callable[[np.ndarray], np.ndarray] = lambda g: g) -> np.ndarray:
    """Return the weights after gradient descent in NumPy; `change` is applied to each gradient."""
    w = np.zeros(4)
    for batch in batches(data, steps):
        w = w - RATE * change(gradient(w, batch))
    return w


def fitted(replicas: int, data: Data, steps: int, build=linear, optimizer=sgd, loss="mse", **options) -> keras.Model:
    """Return the model after `steps` steps of Keras `fit`, in whole epochs; `options` go to `compile`."""
    epochs, left = divmod(steps, -(-len(data["x"]) // BATCH))
    assert left == 0, f"{steps} steps: not whole epochs"
    model = compiled(replicas, build, optimizer, loss, **options)
    model.fit(data["x"], data["y"], batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0)
    return model


def compiled(replicas: int, build=linear, optimizer=sgd, loss="mse", metrics=(), **options) -> keras.Model:
    """Return a compiled model, made in the strategy's scope as the guides say; `metrics` are factories."""
    with strategy(replicas).scope():
        model = build()
        model.compile(optimizer(), loss, metrics=[make() for make in metrics], **options)
    return model


def evaluated(model: keras.Model, data: Data) -> dict[str, float]:
    """Return the result of Keras `evaluate`."""
    return model.evaluate(data["x"], data["y"], batch_size=BATCH, verbose=0, return_dict=True)


def trainer(replicas: int, data: Any, steps: int = 1, task: Task | None = None, optimizer=sgd, **options) -> Trainer:
    """Return a Tallyloop Trainer on the same data, in order."""
    return Trainer(
        task=task or LeastSquares(),
        optimizer=optimizer,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0") if replicas == 1 else strategy(replicas),
        train_dataset=Input(data, BATCH, shuffle=False),
        eval_datasets={"test": Input(data, BATCH)},
        train_steps=steps,
        **options,
    )


def trained(replicas: int, data: Any, steps: int, **arguments) -> keras.Model:
    """Return the model after Tallyloop's training."""
    run = trainer(replicas, data, steps, **arguments)
    run.train()
    return run.model


def weights(model: keras.Model) -> np.ndarray:
    """Return all trainable weights as one float64 vector."""
    return np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables]).astype(np.float64)


def difference(model: keras.Model, expected: np.ndarray) -> float:
    """Return dW, the largest difference of a weight."""
    return float(np.abs(weights(model) - expected).max())
