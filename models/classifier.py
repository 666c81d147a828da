"""Classification of each example as one of several classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import gin
import keras
import numpy as np
import tensorflow as tf

from .. import metrics as tally_metrics
from ..data.checks import number, whole_number
from ..metrics.errors import UsageError
from ..trainer.task import Task
from .batch import FEATURES, TARGETS, binding_of, maker, part_of, weighted, wide
from .networks.mlp import mlp


@gin.register(module="tallyloop")
class ClassifierTask(Task):
    """Cross-entropy on integer labels, with `accuracy`.

    A batch is a dict; or, as Keras takes it, a tuple `(x, y)` or `(x, y, sample_weight)`.

    Args:
      model: a function that returns a model from examples to logits of shape (batch, classes). In a config, a
        reference without parentheses, `@mlp`, so that the model is made under the strategy.
      features: the key of the examples in the batch.
      labels: the key of the labels in the batch, integers in [0, classes).
      class_weight: class -> the weight of its losses in training; 1 for a class that isn't in it. As in Keras, the weighted
        losses are divided by the number of examples, `accuracy` is not weighted, and neither is an evaluation.
      sample_weight: the key of the examples' weights in the batch, of shape (batch,), which weigh the losses in the same way. A
        batch of an evaluation may lack it, which then isn't weighted.
      metrics: name -> `fn(batch, logits) -> (value, count)`; see `Task.metrics`.

    Raises:
      UsageError: `model` is a model, or cannot be called; or `class_weight` isn't class -> weight.
    """

    def __init__(
        self,
        model: Callable[[], keras.Model] = mlp,
        features: str = "x",
        labels: str = "y",
        class_weight: Mapping[int, float] | None = None,
        sample_weight: str | None = None,
        metrics: Mapping[str, Any] | None = None,
    ):
        self._make_model = maker("ClassifierTask.model", model, "mlp")
        self._features = features
        self._labels = labels
        self._class_weight = _checked(class_weight)
        self._sample_weight = sample_weight
        self.metrics = metrics or {}

    def build_model(self) -> keras.Model:
        """Return what the `model` function makes."""
        return self._make_model()

    def loss(self, model: keras.Model, batch: Mapping[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the cross-entropy, shape (batch,), and the logits, shape (batch, classes).

        Raises:
          UsageError: the batch lacks a key, or a part of it has the wrong type or shape.
        """
        labels = tf.cast(self._labels_of(batch, "The batch"), tf.int64)
        logits = self._logits(model, self._features_of(batch, "The batch"), training)
        tally_metrics.add("accuracy", tf.argmax(logits, -1) == labels)
        losses = cast("tf.Tensor", keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        if training and self._class_weight:
            losses *= tf.gather(self._weights_of(cast("int", logits.shape[-1]), losses.dtype), labels)
        return weighted(losses, batch, self._sample_weight, training, type(self).__name__), logits

    def predict_step(self, model: keras.Model, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return each example's `label`, int64 (batch,), and `probabilities` (batch, classes)."""
        probabilities = tf.nn.softmax(self._logits(model, self._features_of(batch, "The batch"), training=False))
        return {"label": tf.argmax(probabilities, -1), "probabilities": probabilities}

    def check_data(self, model: keras.Model, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Refuse labels that are not classes of the model; `where` names the dataset.

        Raises:
          UsageError: a label is not.
        """
        labels, features = self._labels_of(arrays, where), self._features_of(arrays, where)
        classes = self._classes(model, features, where)
        if labels.min() < 0 or labels.max() >= classes:
            wrong = int(np.flatnonzero((labels < 0) | (labels >= classes))[0])
            raise UsageError(
                f"{where}: expected labels from 0 to {classes - 1}, as the model has {classes} classes, got {labels[wrong]} "
                f"for example {wrong}; raise the number of classes{binding_of(self._make_model, 'num_classes')} or fix the labels"
            )

    def _weights_of(self, classes: int, dtype: tf.DType) -> tf.Tensor:
        """Return the weight of each class, shape (classes,)."""
        if max(self._class_weight) >= classes:
            raise UsageError(
                f"ClassifierTask.class_weight = {self._class_weight}: expected classes from 0 to {classes - 1}, as the model has "
                f"{classes}"
            )
        return tf.constant([self._class_weight.get(label, 1.0) for label in range(classes)], dtype)

    def _classes(self, model: keras.Model, features: Any, where: str) -> int:
        try:
            return model.compute_output_spec(tf.nest.map_structure(_one_of, features)).shape[-1]
        except (KeyError, ValueError) as error:
            told = tf.nest.map_structure(
                lambda array: f"{tf.as_dtype(array.dtype).name} of shape {array.shape}", features
            )
            raise UsageError(
                f"{where}: the model does not accept the features {self._features!r}, {told}: {error}"
            ) from error

    def _logits(self, model: keras.Model, features: tf.Tensor, training: bool) -> tf.Tensor:
        try:
            logits = model(features, training=training)
        except (TypeError, ValueError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if getattr(features, "dtype", None) != tf.string:
                raise
            raise UsageError(
                f"The batch: expected features {self._features!r} that the model accepts, got strings; use numbers, or a "
                "model that begins with a layer such as keras.layers.StringLookup"
            ) from error
        if logits.shape.rank != 2:
            raise UsageError(
                f"{type(self).__name__}.model: expected logits of shape (batch, classes), got outputs of shape "
                f"{tuple(logits.shape)}"
            )
        return wide(logits)

    def _labels_of(self, batch: Mapping[str, Any], where: str) -> Any:
        """Return the labels; only their type is checked, so that it works while a step is traced."""
        labels = part_of(batch, self._labels, TARGETS, where, self._fix())
        dtype = tf.as_dtype(labels.dtype)
        if len(labels.shape) != 1 or not dtype.is_integer:
            raise UsageError(
                f"{where}: expected integers of shape (n,) as labels {self._labels!r}, got {dtype.name} of shape "
                f"{tuple(labels.shape)}; convert them in Input.map_fn or in the source, or set {type(self).__name__}.labels"
            )
        return labels

    def _features_of(self, batch: Any, where: str) -> Any:
        return part_of(batch, self._features, FEATURES, where, self._fix())

    def _fix(self) -> str:
        return f"set {type(self).__name__}.features and {type(self).__name__}.labels"


def _one_of(array: np.ndarray) -> keras.KerasTensor:
    return keras.KerasTensor((1, *array.shape[1:]), dtype=tf.as_dtype(array.dtype).name)


def _checked(class_weight: Mapping[int, float] | None) -> dict[int, float]:
    if class_weight is not None and not isinstance(class_weight, Mapping):
        raise UsageError(
            f"ClassifierTask.class_weight = {class_weight!r}: expected a dict, class -> weight, got a "
            f"{type(class_weight).__name__}"
        )
    name = "ClassifierTask.class_weight"
    return {
        whole_number(f"{name}: class", key, least=0): number(f"{name}[{key!r}]", weight, least=0)
        for key, weight in (class_weight or {}).items()
    }


@gin.register(module="tallyloop")
def top_k_accuracy(
    batch: Mapping[str, tf.Tensor], outputs: tf.Tensor, k: int = 3, labels: str = "y"
) -> tuple[Any, Any]:
    """Return how many labels are among the `k` largest logits, and of how many: a metric function for `Task.metrics`.

    Args:
      batch: the batch, with integer labels of shape (batch,).
      outputs: the logits, shape (batch, classes).
      k: how many classes count as a hit.
      labels: the key of the labels in the batch.
    """
    given = part_of(batch, labels, TARGETS, "The batch", "set top_k_accuracy.labels")
    hits = tf.math.in_top_k(tf.cast(given, tf.int64), tf.cast(outputs, tf.float32), k)
    return tf.math.count_nonzero(hits), tf.size(hits, out_type=tf.int64)


@gin.register(module="tallyloop")
def class_confusion(batch: Mapping[str, tf.Tensor], outputs: tf.Tensor, labels: str = "y") -> Any:
    """Return the sums of a confusion matrix, (classes, classes), rows are labels: a metric function for `Task.metrics`.

    Bind it with a finisher, which says what to make of them: `(@class_confusion, "confusion_matrix")`, an image in
    TensorBoard; or `"recall_per_class"`, `"f1_macro"`, ...

    Args:
      batch: the batch, with integer labels of shape (batch,).
      outputs: the logits, shape (batch, classes).
      labels: the key of the labels in the batch.
    """
    given = part_of(batch, labels, TARGETS, "The batch", "set class_confusion.labels")
    return tally_metrics.confusion_matrix(given, tf.argmax(outputs, -1), cast("int", outputs.shape[-1]))
