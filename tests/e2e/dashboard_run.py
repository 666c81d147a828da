"""Trains a run in Python with all that the dashboards show: `dashboard_run.py FOLDER [killed]`."""

import os
import signal
import sys

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer


def points(seed):
    """Points in the plane, and in which of three rings each lies."""
    x = np.random.default_rng(seed).uniform(-1.5, 1.5, (90, 2)).astype("float32")
    return {"x": x, "y": np.minimum(np.linalg.norm(x, axis=1) // 0.7, 2).astype("int64")}


class Rings(Task):
    def __init__(self, hidden):
        self.hidden = hidden

    def build_model(self):
        return keras.Sequential([keras.layers.Dense(self.hidden, activation="relu"), keras.layers.Dense(3)])

    def loss(self, model, batch, training):
        logits = model(batch["x"], training=training)
        predicted = tf.argmax(logits, -1)
        metrics.add("accuracy", predicted == batch["y"])
        metrics.add("confusion", metrics.confusion_matrix(batch["y"], predicted, 3), finish="confusion_matrix")
        metrics.add("f1", metrics.confusion_matrix(batch["y"], predicted, 3), finish="f1_per_class")
        cross_entropy = keras.losses.sparse_categorical_crossentropy(batch["y"], logits, from_logits=True)
        size = tf.reduce_mean(tf.square(logits), -1)
        return metrics.composite_loss({"cross_entropy": cross_entropy, "size": size}, {"size": 0.01})


def end(trainer, summary):
    """Kill the run in its middle."""
    if summary.step >= 20:
        os.kill(os.getpid(), signal.SIGKILL)


Trainer(
    task=Rings(hidden=16),
    optimizer=keras.optimizers.Adam(0.02),
    train_dataset=Input(points(0), global_batch_size=30),
    eval_datasets={"near": Input(points(1)), "far": Input(points(2))},
    train_steps=40,
    summary_interval=5,
    eval_interval=10,
    actions=[end] if "killed" in sys.argv else [],
    model_dir=sys.argv[1],
).train_and_eval()
