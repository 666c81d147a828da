"""The mistakes of docs/predict_export.md."""

import errno
import fcntl
from pathlib import Path
from unittest import mock

import keras
import tensorflow as tf
from mistakes.tiny import DATA, Line, X, task, trainer
from tallyloop.data import Input
from tallyloop.trainer import launch
from tallyloop.trainer.prediction import formats


class Own(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self._function = function

    def call(self, inputs):
        return self._function(inputs)


class WithOwnLayer(Line):
    def build_model(self):
        return keras.Sequential([keras.Input((3,)), Own(keras.ops.tanh), keras.layers.Dense(1)])


def predict(function, rows=16, **where):
    """Predict function(model, batch)."""
    predicting = task(predict_step=lambda self, model, batch: function(model, batch))
    return trainer(predicting).predict(Input({"x": X[:rows]}, 8), **where)


def rows_of(batch):
    return tf.shape(batch["x"])[0]


def while_another_does():
    Path(".p.npz.shards").mkdir()
    with open(".p.npz.shards/run.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        trainer().predict(Input(DATA, 8), output="p.npz")


def on_a_full_disk():
    with mock.patch.object(formats, "write", side_effect=OSError(errno.ENOSPC, "No space left on device")):
        trainer().predict(Input(DATA, 8), output="p.npz")


def export_to_a_file():
    Path("model.keras").touch()
    trainer().export("model.keras")


MISTAKES = {
    "`trainer.predict(x)`": lambda: trainer().predict(X),
    "predicting before training, in Python": lambda: trainer(model_dir="run").predict(Input(DATA, 8)),
    "data of another width than the model's input": lambda: trainer().predict(Input({"x": X[:, :2]}, 8)),
    "other keys in the data than the model has": lambda: trainer().predict(Input({"a": X, "b": X}, 8)),
    "`predict_step` returns a mean": lambda: predict(lambda model, batch: tf.reduce_mean(model(batch["x"]))),
    "`predict_step` has no `return`": lambda: predict(lambda model, batch: None),
    "an output whose first axis is not the batch": lambda: predict(
        lambda model, batch: tf.transpose(model(batch["x"]))
    ),
    "an output as long as the longest of its batch": lambda: predict(
        lambda model, batch: tf.ones([rows_of(batch), rows_of(batch)]), rows=12
    ),
    "bytes that aren't text": lambda: predict(
        lambda model, batch: tf.fill([rows_of(batch)], b"\xff"), output="p.jsonl"
    ),
    '`output="new.csv"`': lambda: trainer().predict(Input(DATA, 8), output="new.csv"),
    "two predict to one file at once": while_another_does,
    "the disk is full": on_a_full_disk,
    "`--mode=predict` before training": lambda: launch(["digits.gin"], model_dir="new", mode="predict"),
    '`checkpoint="best"`, and none was kept': lambda: trainer(model_dir="run").export(checkpoint="best"),
    "`trainer.export()` without a `model_dir`": lambda: trainer(model_dir=None).export(),
    '`trainer.export("model.keras")`, and it is a file': export_to_a_file,
    '`checkpoint="run/ckpt-5"`, which isn\'t there': lambda: trainer().predict(Input(DATA, 8), checkpoint="run/ckpt-5"),
    "a layer of your own without `get_config`": lambda: trainer(WithOwnLayer()).export("taken"),
}
