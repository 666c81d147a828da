"""The mistakes of docs/from_keras.md."""

import keras
import numpy as np
import tensorflow as tf
from mistakes.tiny import X, Y
from tallyloop.data import Input
from tallyloop.trainer import from_keras


def model(loss="mse"):
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    made.compile("sgd", loss)
    return made


def given(data=(X, Y), **arguments):
    return from_keras(model(), Input(data, 8), **arguments)


def not_compiled():
    from_keras(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), Input((X, Y), 8))


def other_labels():
    from_keras(model("categorical_crossentropy"), Input((X, np.ones((16, 4))), 8)).train()


def inside_the_scope():
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        given()


def stream():
    return tf.data.Dataset.from_tensor_slices((X, np.stack([Y, Y], 1)))


MISTAKES = {
    "`from_keras(model, (x, y))`": lambda: from_keras(model(), (X, Y)),
    "`eval_datasets=Input(...)`": lambda: given(eval_datasets=Input((X, Y), 8)),
    "`epochs=3`": lambda: given(epochs=3),
    "`validation_data=(x_val, y_val)`": lambda: given(validation_data=(X, Y)),
    "a model that is not compiled": not_compiled,
    "`callbacks=[EarlyStopping()]`": lambda: given(callbacks=[keras.callbacks.EarlyStopping()]),
    '`Input({"x": x, "y": y}, 32)`': lambda: given({"x": X, "y": Y}).train(),
    "`Input(([x_1, x_2], y), 32)`": lambda: given(([X, X], Y)).train(),
    "`Input((x,), 32)`": lambda: given((X,)).train(),
    "labels of another shape than the loss takes": other_labels,
    "all in `with strategy.scope():`": inside_the_scope,
    "`summary_intervall=10`": lambda: given(summary_intervall=10),
    "`train_epochs` of a stream": lambda: given(stream, train_epochs=2).train(),
}
