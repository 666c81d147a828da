"""The confusion matrix as a tally, and the scores that follow from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ..tally import Tally, summable

SCORES = ("precision", "recall", "f1")
AVERAGES = ("", "_macro", "_micro", "_per_class")


def confusion_matrix(
    labels: tf.Tensor, predictions: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None
) -> Tally:
    """Returns the sums for `metrics.add(name, confusion_matrix(...), finish=...)`.

    With the finishers "confusion_matrix" (the matrix itself, as numbers and as an image), "f1", "precision", "recall" and
    their "_macro", "_micro" and "_per_class".

    Args:
      labels: class numbers, any shape; those outside [0, num_classes) do not count.
      predictions: class numbers, of the shape of `labels`.
      num_classes: the size of the matrix.
      weights: one for each label, or None.

    Returns:
      A tally: value (num_classes, num_classes), row = label, column = prediction; count = the weight of all.
    """
    labels, predictions = (tf.reshape(tf.cast(each, tf.int64), [-1]) for each in (labels, predictions))
    inside = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    weights = tf.ones_like(labels) if weights is None else tf.reshape(summable(weights), [-1])
    weights = tf.where(inside, weights, tf.zeros_like(weights))
    cells = tf.where(inside, labels * num_classes + predictions, tf.zeros_like(labels))
    flat = tf.math.unsorted_segment_sum(weights, cells, num_classes**2)
    return Tally(tf.reshape(flat, [num_classes, num_classes]), tf.reduce_sum(weights))


def finish(score: str, average: str) -> Callable[[np.ndarray, np.ndarray], float | dict[str, float]]:
    """Returns the finisher of a confusion matrix.

    Args:
      score: "precision" = tp / predicted, "recall" = tp / labelled, "f1" = 2 tp / (predicted + labelled).
      average: "_micro" (over all examples), "_macro" (the mean over the classes that occur as label or prediction, as
        scikit-learn's), "_per_class", or "": of class 1 if there are two classes, else the macro average.
    """

    def of(matrix, count):
        hits, labelled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        if average == "_micro":
            return float(_score(score, hits.sum(), labelled.sum(), predicted.sum()))
        scores = _score(score, hits, labelled, predicted)
        occurs = np.flatnonzero(labelled + predicted)
        if average == "_per_class":
            return {f"class_{i}": float(scores[i]) for i in occurs}
        if average == "" and len(matrix) == 2:
            return float(scores[1])
        return float(scores[occurs].mean())

    return of


def _score(score: str, hits, labelled, predicted):
    """0 where nothing is predicted or labelled, as scikit-learn's `zero_division=0`."""
    below = {"precision": predicted, "recall": labelled, "f1": (predicted + labelled) / 2}[score]
    return hits / np.where(below == 0, 1, below)
