"""`class_weight`, as `fit` takes it: one weight for the examples of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...data.checks import number
from ...metrics.errors import UsageError


def check_class_weight(class_weight: Any) -> Mapping[int, float] | None:
    """Return `class_weight` if it is None, or maps classes to weights.

    Raises:
      UsageError: it does not.
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping) or not class_weight:
        raise UsageError(
            f"class_weight = {class_weight!r}: expected a dict of class -> weight, such as {{0: 1.0, 1: 5.0}}."
        )
    for label, weight in class_weight.items():
        if not isinstance(label, int | np.integer):
            raise UsageError(f"class_weight = {class_weight!r}: expected whole numbers as classes, got {label!r}.")
        number(f"class_weight[{label!r}]", weight, least=0)
    return class_weight


def weights_of_classes(y: Any, weights: Any, class_weight: Mapping[int, float]) -> tf.Tensor:
    """Return a weight for each example by its class; classes that `class_weight` does not name have weight 1.

    Args:
      y: labels of one output: numbers of classes (batch,) or (batch, 1), or one-hot (batch, classes).
      weights: must be None, as for `fit`.
      class_weight: class -> weight.

    Raises:
      UsageError: there are several outputs, or sample weights, too.
    """
    if keras.tree.is_nested(y) or y is None or y.shape.rank not in (1, 2):
        raise UsageError(
            "class_weight: expected labels of one output, of shape (batch,), (batch, 1) or (batch, classes); got "
            f"{y!r}. Give a sample_weight, as the third part of the source."
        )
    if weights is not None:
        raise UsageError(
            "class_weight: expected a source of (x, y), got one with sample_weight, too, which fit refuses as well: multiply the "
            "weights of the classes into sample_weight."
        )
    classes = tf.cast(tf.round(_classes(y)), tf.int64)[:, tf.newaxis]
    matches = classes == tf.constant([int(label) for label in class_weight], tf.int64)
    values = tf.constant([float(weight) for weight in class_weight.values()], tf.float32)
    found = tf.reduce_sum(tf.where(matches, values, 0.0), -1)
    return tf.where(tf.reduce_any(matches, -1), found, 1.0)


def _classes(y: tf.Tensor) -> tf.Tensor:
    if y.shape.rank == 1:
        return tf.cast(y, tf.float64)
    return tf.cast(tf.squeeze(y, -1) if y.shape[-1] == 1 else tf.argmax(y, -1), tf.float64)
