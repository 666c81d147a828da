"""Small tasks, and a maker of Trainers on 1, 2 or 4 replicas."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer


class Regression(Task):
    """Least squares on x (n, 3) and y (n,), from zero weights."""

    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros", name="dense")])

    def loss(self, model, batch, training):
        return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2


@pytest.fixture(scope="session")
def regression_task():
    """The class, to make or to subclass."""
    return Regression


@pytest.fixture(scope="session")
def rows():
    """rows(n) -> {"x": (n, 3), "y": (n,)}, the same each time; y is not linear, so no gradient vanishes."""

    def make(n):
        rng = np.random.default_rng(5)
        x = rng.normal(size=(n, 3)).astype(np.float32)
        return {"x": x, "y": (x @ [1, -2, 3] + 5 * x[:, 0] ** 2 + 1).astype(np.float32)}

    return make


@pytest.fixture(scope="session")
def make_trainer(mirrored_on, rows):
    """make_trainer(task, data, replicas, **arguments) -> a Trainer on batches of 16, in order."""

    def make(task=None, data=40, replicas=1, evaluate=False, batch=16, **arguments):
        data = rows(data) if isinstance(data, int) else data
        defaults = {
            "optimizer": lambda: keras.optimizers.SGD(0.02),
            "train_dataset": Input(data, batch),
            "train_steps": 6,
            "eval_datasets": {"test": Input(data, batch)} if evaluate else None,
        }
        return Trainer(task=task or Regression(), strategy=mirrored_on(replicas), **{**defaults, **arguments})

    return make


@pytest.fixture(scope="session")
def weights_of():
    """weights_of(trainer) -> all trainable weights as one float64 vector."""

    def flat(trainer):
        return np.concatenate([v.numpy().ravel() for v in trainer.model.trainable_variables]).astype(np.float64)

    return flat
