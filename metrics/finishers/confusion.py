"""The confusion matrix as a tally, and the scores that follow from it."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf

from ..tally import Tally
from .finisher import Finished, FinishFn
from .histograms import cell_weights, nan_marked

Score = Literal["precision", "recall", "f1"]
Average = Literal["", "_macro", "_micro", "_per_class"]
SCORES: tuple[Score, ...] = get_args(Score)
AVERAGES: tuple[Average, ...] = get_args(Average)


def confusion_matrix(
    labels: tf.Tensor, predictions: tf.Tensor, num_classes: int, weights: tf.Tensor | None = None
) -> Tally:
    """Return the sums for `metrics.add(name, confusion_matrix(...), finish=...)`.

    The finishers of a confusion matrix are "confusion_matrix" (the matrix itself, as numbers and as an image), "f1",
    "precision", "recall", and each of these three with "_macro", "_micro" or "_per_class".

    Args:
      labels: class numbers, any shape; those outside [0, num_classes) do not count. A NaN makes the scores NaN.
      predictions: class numbers, of the shape of `labels`.
      num_classes: the size of the matrix.
      weights: one per label, or None.

    Returns:
      A tally. Its value has shape (num_classes, num_classes), rows are labels and columns are predictions; its count is
      the weight of all examples that count.
    """
    given = [tf.reshape(each, [-1]) for each in (labels, predictions)]
    labels, predictions = (tf.cast(each, tf.int64) for each in given)
    inside = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    cells = tf.where(inside, labels * num_classes + predictions, tf.zeros_like(labels))
    for each in given:
        inside |= tf.math.is_nan(each) if each.dtype.is_floating else False
    weights = tf.ones_like(labels) if weights is None else cell_weights(weights)
    weights = tf.where(inside, weights, tf.zeros_like(weights))
    flat = tf.math.unsorted_segment_sum(nan_marked(weights, *given), cells, num_classes**2)
    return Tally(tf.reshape(flat, [num_classes, num_classes]), tf.reduce_sum(weights))


def score_finisher(score: Score, average: Average) -> FinishFn:
    """Return the function that computes a score from a confusion matrix.

    Args:
      score: "precision" = tp / predicted, "recall" = tp / labeled, "f1" = 2 tp / (predicted + labeled).
      average: "_micro" over all examples; "_macro", the mean over the classes that occur as label or prediction, as in
        scikit-learn; "_per_class"; or "", which is the score of class 1 if there are two classes, else the macro average.
    """

    def finish(matrix: np.ndarray, count: np.ndarray) -> Finished:
        if not np.isfinite(matrix).all():
            matrix = np.full_like(matrix, np.nan)
        hits, labeled, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
        if average == "_micro":
            return float(_score(score, hits.sum(), labeled.sum(), predicted.sum()))
        scores = _score(score, hits, labeled, predicted)
        occurring = np.flatnonzero(labeled + predicted)
        if average == "_per_class":
            return {f"class_{i}": float(scores[i]) for i in occurring}
        if average == "" and len(matrix) == 2:
            return float(scores[1])
        return float(scores[occurring].mean())

    return finish


def _score(score: Score, hits: Any, labeled: Any, predicted: Any) -> Any:
    """Return the score; 0 where nothing is predicted or labeled, as with scikit-learn's `zero_division=0`."""
    denominator = {"precision": predicted, "recall": labeled, "f1": (predicted + labeled) / 2}[score]
    return hits / np.where(denominator == 0, 1, denominator)
