"""Histograms as tallies: what of a distribution can be known from sums."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally, align_weights, summable


def score_histogram(labels: tf.Tensor, scores: tf.Tensor, bins: int = 1000, weights: tf.Tensor | None = None) -> Tally:
    """Returns the sums for `metrics.add(name, score_histogram(...), finish="auc")`.

    Args:
      labels: 0 or 1, any shape.
      scores: probabilities in [0, 1], of the shape of `labels`; those outside count in the outermost bins.
      bins: how many. Two scores in one bin count as tied: the AUC is off by at most half the fraction of the
        (positive, negative) pairs that share a bin.
      weights: one for each label, or None.

    Returns:
      A tally: value (2, bins), the negatives' histogram and the positives'; count = the weight of all.
    """
    labels, scores = tf.reshape(labels, [-1]), tf.reshape(scores, [-1])
    weights = tf.ones_like(labels, tf.int64) if weights is None else tf.reshape(summable(weights), [-1])
    cells = _bin(scores, 0.0, 1.0, bins) + tf.cast(summable(labels) > 0, tf.int64) * bins
    return Tally(tf.reshape(_counts(cells, weights, 2 * bins), [2, bins]), tf.reduce_sum(weights))


def auc(histogram: np.ndarray) -> float:
    """Area under the ROC curve of a `score_histogram`: P(positive above negative) + P(in one bin) / 2.

    The trapezoidal area; NaN with one class only, for which it is not defined.
    """
    negatives, positives = histogram
    below = np.cumsum(negatives) - negatives
    pairs = negatives.sum() * positives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")


@gin.register(module="tallyloop")
def percentiles(low: float, high: float, q: Sequence[float] = (50.0, 90.0, 99.0), bins: int = 1000):
    """A finisher: percentiles of the added values, from a histogram, as `PATH/p50`, `PATH/p90`, ...

    Args:
      low: where the first bin starts; values below it count in that bin.
      high: where the last bin ends; values above it count in that bin.
      q: which percentiles, in [0, 100].
      bins: how many; a percentile of values inside the range is off by at most one bin, (high - low) / bins.

    Raises:
      UsageError: an argument is out of its range.
    """
    from .finish import Finisher

    if not low < high or bins < 1 or not all(0 <= each <= 100 for each in q):
        raise UsageError(f"percentiles(low={low}, high={high}, q={q}, bins={bins}): wanted low < high, 0 <= q <= 100.")

    def histogram(values, weights):
        values = tf.convert_to_tensor(values)
        weights = tf.ones_like(values, tf.int64) if weights is None else align_weights(summable(weights), values)
        flat = tf.reshape(weights, [-1])
        return Tally(_counts(_bin(tf.reshape(values, [-1]), low, high, bins), flat, bins), tf.reduce_sum(flat))

    def finish(value, count):
        edges = np.linspace(low, high, bins + 1)
        return {f"p{each:g}": _percentile(value, edges, each / 100) for each in q}

    return Finisher("percentiles", ("percentiles", low, high, tuple(q), bins), finish, histogram)


def _percentile(counts: np.ndarray, edges: np.ndarray, fraction: float) -> float:
    """Where the cumulative count reaches `fraction` of all, linear inside its bin."""
    target = fraction * counts.sum()
    cumulative = np.cumsum(counts)
    # Past the empty bins at the start: nothing lies below the smallest value.
    i = int(np.searchsorted(cumulative, target, side="left" if target > 0 else "right").clip(0, len(counts) - 1))
    inside = (target - (cumulative[i] - counts[i])) / counts[i] if counts[i] else 0.0
    return float(edges[i] + np.clip(inside, 0, 1) * (edges[i + 1] - edges[i]))


def _bin(values: tf.Tensor, low: float, high: float, bins: int) -> tf.Tensor:
    scaled = (tf.cast(values, tf.float64) - low) / (high - low) * bins
    return tf.cast(tf.clip_by_value(tf.floor(scaled), 0, bins - 1), tf.int64)


def _counts(cells: tf.Tensor, weights: tf.Tensor, size: int) -> tf.Tensor:
    return tf.math.unsorted_segment_sum(weights, cells, size)
