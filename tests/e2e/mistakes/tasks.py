"""The mistakes of docs/tasks.md."""

import keras
import tensorflow as tf
from mistakes.tiny import Line, loss, squares, task, train, trainer


class WithTeacher(Line):
    def __init__(self):
        self.other = self.build_model()

    def loss(self, model, batch, training):
        return squares(self.other, batch)


MISTAKES = {
    "`loss` returns a mean": lambda: loss(lambda model, batch: tf.reduce_mean(squares(model, batch))),
    "`loss` has no `return`": lambda: loss(lambda model, batch: None),
    "`loss` returns a dict": lambda: loss(lambda model, batch: {"a": squares(model, batch)}),
    "`(batch, 1)` minus `(batch,)`": lambda: loss(lambda model, batch: (model(batch["x"]) - batch["y"]) ** 2),
    "the loss is computed from the batch alone": lambda: loss(lambda model, batch: batch["y"] ** 2),
    "the loss uses a model that is an attribute of the task": lambda: train(WithTeacher()),
    "`loss(self, model, batch)`": lambda: train(task(loss=lambda self, model, batch: squares(model, batch))),
    "the batch has no such key": lambda: loss(lambda model, batch: model(batch["image"])[:, 0]),
    "`float(loss)` or `.numpy()` in the loss": lambda: loss(lambda model, batch: float(squares(model, batch)[0])),
    '`metrics = {"auc": keras.metrics.AUC}`': lambda: train(task(metrics={"auc": keras.metrics.AUC})),
    "`build_model` has no `return`": lambda: train(task(build_model=lambda self: None)),
    "`keras.random` without a seed": lambda: loss(
        lambda model, batch: squares(model, batch) + keras.random.normal([8])
    ),
    "`Trainer(task=Prices)`": lambda: trainer(Line),
}
