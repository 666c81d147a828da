"""The mistakes of docs/from_a_loop.md."""

import keras
import numpy as np
import tensorflow as tf
from mistakes.tiny import DATA, Line, loss, squares, task, train, trainer
from tallyloop.data import Input


def rows():
    return tf.data.Dataset.from_tensor_slices(DATA)


def used_optimizer():
    optimizer = keras.optimizers.SGD()
    optimizer.build(Line().build_model().trainable_variables)
    train(optimizer=optimizer)


def of_the_loop():
    model = Line().build_model()
    loss(lambda _, batch: squares(model, batch))


def inside_the_scope():
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        train()


def absolute(model, batch):
    errors = model(batch["x"])[:, 0] - batch["y"]
    return errors if tf.reduce_sum(errors) > 0 else -errors


def unpacked(model, batch):
    x, y = batch
    return (model(x)[:, 0] - y) ** 2


def updating_a_metric():
    mean_loss = keras.metrics.Mean()
    loss(lambda model, batch: mean_loss.update_state(squares(model, batch)))


MISTAKES = {
    "`return tf.reduce_mean(losses)`": lambda: loss(lambda model, batch: tf.reduce_mean(squares(model, batch))),
    "`return sum(losses * mask) / sum(mask)`": lambda: loss(
        lambda model, batch: tf.reduce_sum(squares(model, batch) * batch["y"]) / tf.reduce_sum(batch["y"])
    ),
    "`model(x) - y` without `[:, 0]`": lambda: loss(lambda model, batch: (model(batch["x"]) - batch["y"]) ** 2),
    "`x, y = batch` of a dict": lambda: loss(unpacked),
    "`np.mean(losses)` in the loss": lambda: loss(lambda model, batch: np.mean(squares(model, batch))),
    "`mean_loss.update_state(losses)` in the loss": updating_a_metric,
    "`if` on a tensor in the loss": lambda: loss(absolute),
    "the model of the loop in the loss": of_the_loop,
    "the optimizer of the loop": used_optimizer,
    "`train_dataset=dataset`": lambda: trainer(train_dataset=rows()),
    "`Input(dataset.batch(32), 32)`": lambda: train(train_dataset=Input(rows().batch(8), 8)),
    "`train_epochs=3, train_steps=21`": lambda: trainer(train_epochs=3, train_steps=21),
    "`with strategy.scope():` around it": inside_the_scope,
    "`train_step(self, batch)`": lambda: train(task(train_step=lambda self, batch: None)),
}
