"""The distance of a result from that of one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from .measure import Result
from .settings import Setting


class Difference(NamedTuple):
    """The differences of the weights and of the metrics: infinite if something is missing, NaN if something is NaN."""

    weights: float
    metrics: float

    def is_within(self, setting: Setting) -> bool:
        """Return whether both are within the tolerances of the setting; NaN is not."""
        return self.weights <= setting.weights and self.metrics <= setting.metrics


def difference(reference: Result, found: Sequence[Result]) -> Difference:
    """Return the largest difference of any copy of the weights in any process, and of the metrics of any process.

    The difference of a variable is the largest of its elements, divided by the largest absolute value in the reference. That of a
    metric is divided by its absolute value in the reference, or by 1 if that is larger.

    Args:
      reference: the result of one device.
      found: one result per process.
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
    return distance / size if size > 0 else distance  # all 0: nothing to divide by


def _of_metrics(reference: float, found: float) -> float:
    return abs(found - reference) / max(1.0, abs(reference))
