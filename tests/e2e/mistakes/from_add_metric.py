"""The mistakes of docs/from_add_metric.md."""

import keras
import tensorflow as tf
from mistakes.tiny import Line, task, train
from tallyloop import metrics


class Stage(keras.layers.Layer):
    def __init__(self, record):
        super().__init__()
        self._dense = keras.layers.Dense(3)
        self._record = record

    def build(self, shape):
        self._dense.build(shape)

    def call(self, inputs):
        outputs = self._dense(inputs)
        self._record(self, outputs)
        return outputs

    def compute_output_shape(self, shape):
        return shape


def stage(record):
    """Train a model with a layer that calls record(layer, outputs)."""
    train(task(build_model=lambda self: keras.Sequential([keras.Input((3,)), Stage(record), keras.layers.Dense(1)])))


def twice(layer, x):
    metrics.add("n", x)
    metrics.add("n", -x)


def mapped(layer, x):
    tf.vectorized_map(lambda row: metrics.add("n", row) or row, x)


def added(*arguments, **keywords):
    return stage(lambda layer, x: metrics.add(*arguments, x, **keywords))


def of_a_running_mean():
    mean = keras.metrics.Mean()
    stage(lambda layer, x: metrics.add("n", mean(x)))


MISTAKES = {
    "`self.add_metric(...)`, as before": lambda: stage(lambda layer, x: layer.add_metric(x, name="n")),
    '`aggregation="mean"`': lambda: added("n", aggregation="mean"),
    '`metrics.add(x, "n")`': lambda: stage(lambda layer, x: metrics.add(x, "n")),
    '`metrics.add("mean activation", x)`': lambda: added("mean activation"),
    '`metrics.add("loss", x)`': lambda: added("loss"),
    "one name in two lines": lambda: stage(twice),
    "weights of another shape": lambda: added("n", weights=tf.ones([3])),
    "a ragged tensor": lambda: stage(lambda layer, x: metrics.add("n", tf.RaggedTensor.from_tensor(x))),
    '`finish="exponential"`': lambda: added("n", finish="exponential"),
    "inside `tf.vectorized_map`": lambda: stage(mapped),
    '`metrics.add("n", self.mean(x))` with a `keras.metrics.Mean`': of_a_running_mean,
    "a Keras metric, and `loss` returns no outputs": lambda: train(
        task(metrics={"auc": keras.metrics.AUC(name="auc")})
    ),
    "`metrics.watch` of another model's tensor": lambda: metrics.watch(
        Line().build_model(), [keras.Input((3,))], ["n"]
    ),
}
