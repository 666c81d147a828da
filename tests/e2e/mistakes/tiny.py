"""What the mistakes are made with: a model of four weights, 16 rows, one step."""

import keras
import numpy as np
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
Y = X.sum(1)
DATA = {"x": X, "y": Y}


def squares(model, batch):
    return (model(batch["x"])[:, 0] - batch["y"]) ** 2


class Line(Task):
    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    def loss(self, model, batch, training):
        return squares(model, batch)


class WithLoss(Line):
    """A task whose loss is a function of (model, batch)."""

    def __init__(self, function):
        self.function = function

    def loss(self, model, batch, training):
        return self.function(model, batch)


def trainer(task=None, **arguments):
    usual = {
        "optimizer": keras.optimizers.SGD(0.01),
        "train_dataset": Input(DATA, 8),
        "train_steps": 1,
        "model_dir": "run",
    }
    return Trainer(task or Line(), **usual | arguments)


def train(task=None, **arguments):
    trainer(task, **arguments).train()


def train_and_eval(**arguments):
    trainer(eval_datasets={"test": Input(DATA, 8)}, **arguments).train_and_eval()


def loss(function):
    """Train a step with the loss function(model, batch)."""
    train(WithLoss(function))


def task(*bases, **members):
    """A task of a class with these members."""
    return type("Mine", bases or (Line,), members)()
