"""Data for scikit-learn and NumPy as independent referees, cut into uneven pieces."""

import dataclasses
import itertools

import numpy as np
import pytest
from tallyloop.metrics import MetricRegistry

ROWS, CLASSES = 1003, 5
CUTS = (0, 400, 400, 401, 990, ROWS)  # an empty piece, one of one row


def _measured(step, rows=ROWS, cuts=CUTS):
    registry, total = MetricRegistry(), None
    for start, stop in itertools.pairwise(cuts):
        with registry.recording():
            step(slice(start, min(stop, rows)))
            total = registry.merge(total, registry.compute(None, None))
    return registry.result(total)


@pytest.fixture(scope="session")
def measured():
    """measured(step) -> the finished sums of `step(piece)` over the pieces."""
    return _measured


@dataclasses.dataclass(frozen=True)
class Data:
    """Class numbers, guesses of them, weights, and scores of being no class 0."""

    labels: np.ndarray
    guesses: np.ndarray
    weights: np.ndarray
    scores: np.ndarray


@pytest.fixture(scope="session")
def data():
    rng = np.random.default_rng(23)
    labels = rng.choice([0, 1, 2, 4], size=ROWS, p=[0.5, 0.2, 0.2, 0.1])  # class 3 is only ever guessed
    guesses = np.where(rng.uniform(size=ROWS) < 0.6, labels, rng.integers(0, CLASSES, ROWS))
    weights = rng.uniform(0.5, 2, ROWS)
    return Data(labels, guesses, weights, np.clip(rng.normal(0.45 + 0.15 * (labels > 0), 0.2), 0, 1))
