"""How far a result is from that of one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .measure import Result
from .settings import Setting


class Difference(NamedTuple):
    """Of the weights, and of the metrics; infinite where something is missing, NaN where something is NaN."""

    weights: float
    metrics: float

    def is_within(self, setting: Setting) -> bool:
        """Whether both are as small as they have to be; NaN is not."""
        return self.weights <= setting.weights and self.metrics <= setting.metrics


def difference(reference: Result, found: Sequence[Result]) -> Difference:
    """The largest difference of any copy of the weights in any process, and of the metrics that any process got.

    That of a variable is the largest of its elements, divided by the largest absolute value of the reference's elements;
    that of a metric is divided by its own absolute value in the reference, or by 1 if that is larger.

    Args:
      reference: of one device.
      found: one result a process.
    """
    weights = [_largest(_of_weights, reference.weights, result.weights) for result in found]
    metrics = [_largest(_of_metrics, reference.metrics, result.metrics) for result in found]
    return Difference(float(np.max(weights)), float(np.max(metrics)))


def _largest(compare, reference: Mapping, found: Mapping) -> float:
    if reference.keys() != found.keys():
        return float("inf")
    return np.max([compare(reference[name], found[name]) for name in reference])


def _of_weights(reference: np.ndarray, copies: np.ndarray) -> float:
    expected = reference[0].astype(np.float64)
    distance, size = np.abs(copies - expected).max(), np.abs(expected).max()
    return distance / size if size > 0 else distance  # all 0: then there is nothing to measure by


def _of_metrics(reference: float, found: float) -> float:
    return abs(found - reference) / max(1.0, abs(reference))
