"""Histograms as tallies: what sums can tell about a distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gin
import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally, align_weights, summable
from .finisher import Finisher


def score_histogram(labels: tf.Tensor, scores: tf.Tensor, bins: int = 1000, weights: tf.Tensor | None = None) -> Tally:
    """Return the sums for `metrics.add(name, score_histogram(...), finish="auc")`.

    Args:
      labels: 0 or 1, any shape.
      scores: probabilities in [0, 1], of the shape of `labels`; those outside count in the outermost bins. A NaN among scores
        or labels makes the AUC NaN.
      bins: the number of bins. Two scores in one bin count as tied: the AUC is off by at most half the fraction of the
        (positive, negative) pairs that share a bin. The default keeps that below 0.001 for scores spread over the range.
      weights: one per label, or None.

    Returns:
      A tally. Its value has shape (2, bins), the histogram of the negatives and that of the positives; its count is the
      weight of all labels.
    """
    labels, scores = tf.reshape(labels, [-1]), tf.reshape(scores, [-1])
    weights = tf.ones_like(labels, tf.int64) if weights is None else cell_weights(weights)
    cells = _bin(scores, 0.0, 1.0, bins) + tf.cast(summable(labels) > 0, tf.int64) * bins
    flat = tf.math.unsorted_segment_sum(nan_marked(weights, labels, scores), cells, 2 * bins)
    return Tally(tf.reshape(flat, [2, bins]), tf.reduce_sum(weights))


def cell_weights(weights: tf.Tensor) -> tf.Tensor:
    """Return flat weights whose sums over the cells of a histogram are exact: a cell adds one element after the other."""
    flat = tf.reshape(summable(weights), [-1])
    return tf.cast(flat, tf.float64) if flat.dtype.is_floating else flat


def nan_marked(weights: tf.Tensor, *values: tf.Tensor) -> tf.Tensor:
    """Return the weights, NaN where a value that counts is NaN: as in a mean, one NaN makes the result NaN."""
    for each in values:
        if each.dtype.is_floating:
            weights = tf.cast(weights, tf.float64)
            is_counted = tf.math.is_nan(each) & (weights != 0)
            weights = tf.where(is_counted, tf.constant(np.nan, tf.float64), weights)
    return weights


def auc(histogram: np.ndarray) -> float:
    """Return the area under the ROC curve of a `score_histogram`: P(positive above negative) + P(in one bin) / 2.

    This is the trapezoidal area. It is NaN with one class only, for which it is not defined.
    """
    negatives, positives = histogram
    below = np.cumsum(negatives) - negatives
    pairs = negatives.sum() * positives.sum()
    return float((positives * (below + negatives / 2)).sum() / pairs) if pairs else float("nan")


@gin.register(module="tallyloop")
def percentiles(low: float, high: float, q: Sequence[float] = (50.0, 90.0, 99.0), bins: int = 1000) -> Finisher:
    """Return a finisher that writes percentiles of the added values: `PATH/p50`, `PATH/p90`, ...

    They come from a histogram, whose sums add up over replicas and steps. A NaN among the values makes them NaN.

    Args:
      low: the lower edge of the first bin; values below it count in that bin.
      high: the upper edge of the last bin; values above it count in that bin.
      q: which percentiles, in [0, 100].
      bins: the number of bins. A percentile of values inside the range is off by at most one bin, (high - low) / bins.

    Raises:
      UsageError: an argument is out of its range.
    """
    if not low < high or bins < 1 or not all(0 <= each <= 100 for each in q):
        raise UsageError(
            f"percentiles(low={low}, high={high}, q={q}, bins={bins}): expected low < high, 0 <= q <= 100 and bins >= 1."
        )

    def histogram(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
        values = tf.convert_to_tensor(values)
        flat = tf.reshape(values, [-1])
        if weights is None:
            each = tf.ones_like(flat, tf.int64)
        else:
            each = cell_weights(align_weights(tf.convert_to_tensor(weights), values))
        sums = tf.math.unsorted_segment_sum(nan_marked(each, flat), _bin(flat, low, high, bins), bins)
        return Tally(sums, tf.reduce_sum(each))

    def finish(value: np.ndarray, count: np.ndarray) -> Mapping[str, float]:
        if not np.isfinite(value).all():
            return {f"p{each:g}": float("nan") for each in q}
        edges = np.linspace(low, high, bins + 1)
        return {f"p{each:g}": _percentile(value, edges, each / 100) for each in q}

    return Finisher("percentiles", ("percentiles", low, high, tuple(q), bins), finish, histogram)


def _percentile(counts: np.ndarray, edges: np.ndarray, fraction: float) -> float:
    """Return where the cumulative count reaches `fraction` of all, interpolated inside its bin."""
    target = fraction * counts.sum()
    cumulative = np.cumsum(counts)
    # Skips the empty bins at the start: nothing lies below the smallest value.
    i = int(np.searchsorted(cumulative, target, side="left" if target > 0 else "right").clip(0, len(counts) - 1))
    inside = (target - (cumulative[i] - counts[i])) / counts[i] if counts[i] else 0.0
    return float(edges[i] + np.clip(inside, 0, 1) * (edges[i + 1] - edges[i]))


def _bin(values: tf.Tensor, low: float, high: float, bins: int) -> tf.Tensor:
    """Return the bin of each value, int64; a NaN is in the first one."""
    scaled = tf.floor((tf.cast(values, tf.float64) - low) / (high - low) * bins)
    return tf.cast(
        tf.clip_by_value(tf.where(tf.math.is_nan(scaled), tf.zeros_like(scaled), scaled), 0, bins - 1), tf.int64
    )
