"""Cases of metrics on data that does not split into equal parts."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import Tally

from .case import Case
from .problem import LeastSquares, compiled, evaluated, linear, rows, trainer


def _evaluate(replicas: int, data, task) -> dict:
    return trainer(replicas, data, task=task).evaluate()["test"]


# --- a metric from inside a layer ---


class AddMetric(keras.layers.Layer):
    """Records the mean of its input with the `add_metric` of Keras 2."""

    def call(self, x):
        """Return the input."""
        self.add_metric(x, name="inside")
        return x


class TallyInside(keras.layers.Layer):
    """Records the mean of its input as a tally."""

    def call(self, x):
        """Return the input."""
        metrics.add("inside", x)
        return x


class MeanInside(keras.layers.Layer):
    """Records the mean of its input with a Keras metric that is given the mean of each batch."""

    def __init__(self):
        super().__init__()
        self.inside = keras.metrics.Mean(name="inside")

    def call(self, x):
        """Return the input."""
        self.inside.update_state(keras.ops.mean(x))
        return x


def _with(layer):
    def build():
        inputs = keras.Input((3,))
        return keras.Model(inputs, keras.layers.Dense(1)(layer()(inputs)))

    return build


def _counting(n: int) -> dict[str, np.ndarray]:
    """Return n rows; the three numbers of row i are i."""
    return {"x": np.repeat(np.arange(n, dtype=np.float32)[:, None], 3, 1), "y": np.zeros(n, np.float32)}


def _layer_metric(name: str, layer, n: int) -> Case:
    return Case(
        name,
        exact=lambda: (n - 1) / 2,
        keras=lambda replicas: evaluated(compiled(replicas, _with(layer)), _counting(n))["inside"],
        tallyloop=lambda replicas: _evaluate(replicas, _counting(n), LeastSquares(_with(TallyInside)))["inside"],
    )


# --- a scalar metric function ---


def outlier() -> dict[str, np.ndarray]:
    """Return 103 rows with the label 2, except for a last label of 50; the model predicts 0."""
    y = np.full(103, 2, np.float32)
    y[-1] = 50
    return {"x": rows(103)["x"], "y": y}


def mean_square(labels, predicted):
    """Return a scalar, as metric functions often do."""
    return keras.ops.mean((labels - predicted[:, 0]) ** 2)


def square_sums(batch, outputs) -> Tally:
    """Return the same metric as a tally."""
    return Tally(tf.reduce_sum((batch["y"] - outputs[:, 0]) ** 2), tf.size(batch["y"]))


SCALAR = Case(
    "scalar metric function, evaluate on 103 rows",
    exact=lambda: float(np.mean(outlier()["y"] ** 2)),
    keras=lambda n: evaluated(compiled(n, metrics=[lambda: mean_square]), outlier())["mean_square"],
    tallyloop=lambda n: _evaluate(n, outlier(), LeastSquares(metrics={"square": square_sums}))["square"],
)


# --- a masked loss ---


def tokens() -> dict[str, np.ndarray]:
    """Return 32 sequences of 0 to 4 tokens; `x` marks the tokens, and each token of sequence i has the label i / 10."""
    lengths = np.r_[np.full(4, 4), np.full(4, 1), np.zeros(4), np.full(4, 2), np.full(16, 3)]
    x = (np.arange(4) < lengths[:, None]).astype(np.float32)[..., None]
    y = np.tile(np.arange(32, dtype=np.float32)[:, None, None] / 10, (1, 4, 1))
    return {"x": x, "y": y}


def masking() -> keras.Model:
    """Return a model that predicts 0 for each token and passes the mask on."""
    return keras.Sequential(
        [keras.Input((4, 1)), keras.layers.Masking(), keras.layers.Dense(1, kernel_initializer="zeros")]
    )


class MaskedTask(LeastSquares):
    """The squared error of the unmasked tokens."""

    def loss(self, model, batch, training):
        """Return the sum of the errors and the number of tokens."""
        mask = batch["x"][..., 0]
        errors = (model(batch["x"], training=training)[..., 0] - batch["y"][..., 0]) ** 2
        return Tally(tf.reduce_sum(errors * mask), tf.reduce_sum(mask))


def _masked_exact() -> float:
    mask, errors = tokens()["x"].astype(np.float64), tokens()["y"].astype(np.float64) ** 2
    return float((mask * errors).sum() / mask.sum())


MASKED = Case(
    "masked loss, evaluate",
    exact=_masked_exact,
    keras=lambda n: evaluated(compiled(n, masking), tokens())["loss"],
    tallyloop=lambda n: _evaluate(n, tokens(), MaskedTask(masking))["loss"],
)


# --- a maximum ---


class Largest(keras.metrics.Metric):
    """The largest error, a metric whose state is a maximum."""

    def __init__(self):
        super().__init__(name="largest")
        self.largest = self.add_variable((), "zeros", name="largest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Keep the larger error."""
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(keras.ops.abs(y_true - y_pred[:, 0]))))

    def result(self):
        """Return the largest error."""
        return self.largest


class LargestTask(LeastSquares):
    """Least squares that also record the largest error."""

    def loss(self, model, batch, training):
        """Return the squared errors and the predictions."""
        losses, predicted = super().loss(model, batch, training)
        metrics.add("largest", tf.abs(batch["y"] - predicted[:, 0]), finish="max")
        return losses, predicted


def _small() -> dict[str, np.ndarray]:
    return {"x": rows(64)["x"], "y": np.tile(np.linspace(0.1, 0.7, 4, dtype=np.float32), 16)}


MAXIMUM = Case(
    "metric whose state is a maximum",
    exact=lambda: 0.7,
    keras=lambda n: evaluated(compiled(n, metrics=[Largest]), _small())["largest"],
    tallyloop=lambda n: _evaluate(n, _small(), LargestTask(linear))["largest"],
)


# --- two layers, one name ---


class Shifted(keras.layers.Layer):
    """Adds `shift` to its input, and records the mean of its output as `activation`.

    Args:
      shift: to add.
      keras_metric: whether to record with a Keras metric instead of a tally.
    """

    def __init__(self, shift: float, keras_metric: bool, **kwargs):
        super().__init__(**kwargs)
        self._shift = shift
        self.activation = keras.metrics.Mean(name="activation") if keras_metric else None

    def call(self, x):
        """Return x + shift."""
        y = x + self._shift
        if self.activation is not None:
            self.activation.update_state(y)
        with metrics.scope(self.name):
            metrics.add("activation", y)
        return y


def two_layers(keras_metric: bool) -> keras.Model:
    """Return a model whose first layer outputs 1 and whose second outputs 3."""
    layers = [Shifted(1.0, keras_metric, name="first"), Shifted(2.0, keras_metric, name="second")]
    return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])


def _zeros() -> dict[str, np.ndarray]:
    return {"x": np.zeros((32, 3), np.float32), "y": np.zeros(32, np.float32)}


def _named_activation(found) -> tuple[float, ...]:
    return tuple(value for name, value in sorted(found.items()) if name.endswith("activation"))


SAME_NAME = Case(
    "two layers with one metric name",
    exact=lambda: (1.0, 3.0),
    keras=lambda n: _named_activation(evaluated(compiled(n, lambda: two_layers(True)), _zeros())),
    tallyloop=lambda n: _named_activation(_evaluate(n, _zeros(), LeastSquares(lambda: two_layers(False)))),
)

OF_EVALUATE = (
    _layer_metric("add_metric in a layer", AddMetric, 40),
    SCALAR,
    MASKED,
    _layer_metric("mean of each batch to a metric in a layer, an empty replica", MeanInside, 17),
    MAXIMUM,
)
