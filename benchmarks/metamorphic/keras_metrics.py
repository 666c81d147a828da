"""Keras metrics with random arguments, and what one plain pass of Keras makes of all rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from tallyloop.metrics import KerasMetric

from .values import Expectation, Expected

TOLERANCE = 1e-5  # Keras's own result is of float32


class CountOfHits(keras.metrics.Metric):
    """A metric whose result is its variable, as in the docstring of `keras.metrics.Metric`."""

    def __init__(self, name="count_of_hits", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.hits = self.add_variable((), "zeros", name="hits")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count the numbers that are close."""
        self.hits.assign_add(keras.ops.sum(keras.ops.cast(keras.ops.abs(y_true - y_pred) < 1, self.dtype)))

    def result(self):
        """Return the variable itself."""
        return self.hits


@dataclasses.dataclass(frozen=True)
class RandomKerasMetric:
    """A Keras metric and its data.

    Attributes:
      kind: the class's name.
      make: makes the metric.
      labels: (rows, ...).
      predictions: (rows, ...).
      weights: None, or (rows,).
    """

    kind: str
    make: Callable[[], keras.metrics.Metric]
    labels: np.ndarray
    predictions: np.ndarray
    weights: np.ndarray | None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The data by the keys' ends."""
        found = {"labels": self.labels, "predictions": self.predictions}
        return found if self.weights is None else {**found, "weights": self.weights}

    def tallied(self, name: str) -> KerasMetric:
        """Return what a task registers; the outputs are the batch, whose keys begin with `name`."""
        weights = None if self.weights is None else f"{name}/weights"
        return KerasMetric(self.make(), f"{name}/labels", f"{name}/predictions", weights)

    def expected(self, rows: np.ndarray) -> Expectation:
        """Return what one pass of Keras over these rows gives."""
        metric = self.make()
        weights = None if self.weights is None else self.weights[rows]
        metric.update_state(self.labels[rows], self.predictions[rows], sample_weight=weights)
        return dict(_written("", metric.result()))


def _written(path: str, result: Any) -> list[tuple[str, Expected]]:
    if isinstance(result, Mapping):
        return [each for name, value in result.items() for each in _written(f"{path}/{name}", value)]
    array = np.asarray(keras.ops.convert_to_numpy(result), np.float64)
    allowed = TOLERANCE * max(1.0, float(np.nan_to_num(np.abs(array)).max(initial=0)))
    if array.ndim == 1:
        return [(f"{path}/class_{i}", Expected(float(each), allowed)) for i, each in enumerate(array)]
    return [(path, Expected(array, allowed))]


def random_keras_metric(rng: np.random.Generator, number: int, rows: int) -> RandomKerasMetric:
    """Return a metric of the class `number` in turn, with random arguments, and its random data."""
    kind = [*METRICS][number % len(METRICS)]
    data, arguments = METRICS[kind]
    chosen = arguments(rng)
    labels, predictions = _DATA[data](rng, rows)
    can_be_weighted = data in ("numbers", "classes")
    weights = (rng.integers(0, 9, rows) / 4).astype(np.float32) if can_be_weighted and rng.random() < 0.4 else None
    make = CountOfHits if kind == "CountOfHits" else getattr(keras.metrics, kind)
    return RandomKerasMetric(kind, lambda: make(name="metric", **chosen), labels, predictions, weights)


def _between(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return scores in (0, 1) that no threshold of tenths or eighths is equal to."""
    return ((rng.integers(0, 64, shape) + 0.6) / 64).astype(np.float32)


def _binary(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 2, (rows, 3)).astype(np.float32), _between(rng, (rows, 3))


def _classes(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    scores = _between(rng, (rows, 3))
    return rng.integers(0, 3, rows), scores / scores.sum(1, keepdims=True)


def _one_hot(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = _classes(rng, rows)
    return np.eye(3, dtype=np.float32)[labels], scores


def _numbers(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.normal(size=(rows, 2)).astype(np.float32)
    return labels, (labels + rng.normal(size=(rows, 2)) / 2).astype(np.float32)


def _pairs(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 3, rows), rng.integers(0, 3, rows)


_DATA: dict[str, Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]] = {
    "binary": _binary, "classes": _classes, "one hot": _one_hot, "numbers": _numbers, "pairs": _pairs,
}  # fmt: skip
Arguments = Callable[[np.random.Generator], dict[str, Any]]


def _one_of(**choices: list[Any]) -> Arguments:
    return lambda rng: {name: each[rng.integers(len(each))] for name, each in choices.items()}


_THRESHOLDS: list[Any] = [0.5, [0.5], [0.25, 0.75], [0.1, 0.5, 0.9]]
_AVERAGES = [None, "micro", "macro", "weighted"]
# Class of Keras -> the kind of its data, and its random arguments.
METRICS: dict[str, tuple[str, Arguments]] = {
    **{
        name: ("binary", _one_of(thresholds=_THRESHOLDS))
        for name in ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")
    },
    **{name: ("binary", _one_of(thresholds=_THRESHOLDS, class_id=[None, 0, 2])) for name in ("Precision", "Recall")},
    "AUC": (
        "binary",
        _one_of(
            num_thresholds=[10, 200],
            curve=["ROC", "PR"],
            summation_method=["interpolation", "minoring", "majoring"],
            multi_label=[False, True],
        ),
    ),
    "PrecisionAtRecall": ("binary", _one_of(recall=[0.3, 0.8], num_thresholds=[20, 200])),
    "SensitivityAtSpecificity": ("binary", _one_of(specificity=[0.3, 0.8], num_thresholds=[20, 200])),
    "BinaryAccuracy": ("binary", _one_of(threshold=[0.3, 0.5])),
    "BinaryCrossentropy": ("binary", _one_of(from_logits=[False, True], label_smoothing=[0, 0.1])),
    "BinaryIoU": ("binary", _one_of(target_class_ids=[[0, 1], [1]], threshold=[0.3, 0.5])),
    "SparseCategoricalAccuracy": ("classes", _one_of()),
    "SparseTopKCategoricalAccuracy": ("classes", _one_of(k=[1, 2])),
    "SparseCategoricalCrossentropy": ("classes", _one_of(from_logits=[False, True])),
    "CategoricalAccuracy": ("one hot", _one_of()),
    "TopKCategoricalAccuracy": ("one hot", _one_of(k=[1, 2])),
    "CategoricalCrossentropy": ("one hot", _one_of(from_logits=[False, True], label_smoothing=[0, 0.1])),
    "F1Score": ("one hot", _one_of(average=_AVERAGES, threshold=[None, 0.4])),
    "FBetaScore": ("one hot", _one_of(average=_AVERAGES, beta=[0.5, 2.0], threshold=[None, 0.4])),
    "OneHotMeanIoU": ("one hot", _one_of(num_classes=[3])),
    "MeanIoU": ("pairs", _one_of(num_classes=[3, 4])),
    "IoU": ("pairs", _one_of(num_classes=[3], target_class_ids=[[0], [1, 2]])),
    "R2Score": ("numbers", _one_of(class_aggregation=[None, "uniform_average", "variance_weighted_average"])),
    **{
        name: ("numbers", _one_of())
        for name in (
            "MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError", "CosineSimilarity", "LogCoshError", "CountOfHits",
        )
    },
}  # fmt: skip
