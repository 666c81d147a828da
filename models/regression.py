"""Regression: predicting numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import gin
import keras
import tensorflow as tf

from .. import metrics as tally_metrics
from ..data.checks import one_of
from ..metrics.errors import UsageError
from ..trainer.task import Task
from .batch import FEATURES, TARGETS, maker, numbers_of, part_of, weighted, wide

Loss = Literal["mse", "mae", "huber"]
_LOSSES = {
    "mse": keras.losses.mean_squared_error,
    "mae": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
}

_FIX = "set RegressionTask.features"


@gin.register(module="tallyloop")
class RegressionTask(Task):
    """Squared, absolute or Huber error of one or several numbers, with the metrics `mae` and `rmse`.

    A batch is a dict; or, as Keras takes it, a tuple `(x, y)` or `(x, y, sample_weight)`.

    Args:
      model: a function that returns a model from examples to predictions of shape (batch,), (batch, 1) or (batch, k). In a
        config, a reference without parentheses, `@my_model`, so that the model is made under the strategy.
      features: the key of the examples in the batch.
      targets: the key of the targets in the batch, numbers of shape (batch,) or (batch, k).
      loss: "mse", "mae" or "huber", whose error is squared up to 1 and absolute beyond; of several targets, the mean over them.
      sample_weight: the key of the examples' weights in the batch, of shape (batch,). As in Keras, the weighted losses are
        divided by the number of examples, and the metrics are not weighted. A batch of an evaluation may lack it, which then
        isn't weighted.

    Raises:
      UsageError: `model` is a model, or cannot be called; or `loss` is another word.
    """

    _TARGETS = "RegressionTask.targets"  # the binding that names them

    def __init__(
        self,
        model: Callable[[], keras.Model],
        features: str = "x",
        targets: str = "y",
        loss: Loss = "mse",
        sample_weight: str | None = None,
    ):
        self._make_model = maker("RegressionTask.model", model, "my_model")
        self._features = features
        self._targets = targets
        self._loss = _LOSSES[one_of("RegressionTask.loss", loss, get_args(Loss))]
        self._sample_weight = sample_weight

    def build_model(self) -> keras.Model:
        """Return what the `model` function makes."""
        return self._make_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the loss of each example, shape (batch,), and the predictions, of the shape of the targets.

        Raises:
          UsageError: the batch lacks a key, or predictions and targets differ in shape.
        """
        targets = part_of(batch, self._targets, TARGETS, "The batch", f"set {self._TARGETS}")
        predicted = wide(model(self._features_of(model, batch), training=training))
        predicted = self._like(predicted, targets)
        targets = numbers_of(targets, self._targets, self._TARGETS, predicted.dtype)
        error = predicted - targets
        tally_metrics.add("mae", tf.abs(error))
        tally_metrics.add("rmse", error**2, finish="sqrt")
        rows = [tf.reshape(each, [tf.shape(each)[0], -1]) for each in (targets, predicted)]
        losses = cast("tf.Tensor", self._loss(*rows))
        return weighted(losses, batch, self._sample_weight, training, type(self).__name__), predicted

    def predict_step(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the model's predictions, (batch,) of a model with one output."""
        predicted = wide(model(self._features_of(model, batch), training=False))
        return tf.squeeze(predicted, -1) if predicted.shape[1:] == (1,) else predicted

    def _like(self, predicted: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Return predictions of shape (batch, 1) in the shape (batch,) of the targets; all others must agree.

        Otherwise TensorFlow would subtract each target from each prediction.
        """
        if predicted.shape[1:] == (1,) and targets.shape.rank == 1:
            return tf.squeeze(predicted, -1)
        if targets.shape[1:] == (1,) and predicted.shape.rank == 1:
            return predicted[:, tf.newaxis]
        if not predicted.shape[1:].is_compatible_with(targets.shape[1:]):
            raise UsageError(
                f"RegressionTask.model: expected predictions of the shape of the targets {self._targets!r}, "
                f"{tuple(targets.shape)}, got {tuple(predicted.shape)}"
            )
        return predicted

    def _features_of(self, model: keras.Model, batch: Any) -> Any:
        return part_of(batch, self._features, FEATURES, "The batch", _FIX)
