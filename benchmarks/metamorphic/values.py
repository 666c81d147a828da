"""Random metrics: values, weights and a finisher, and what NumPy makes of all rows at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from sklearn import metrics as sklearn_metrics
from tallyloop import metrics

CLASSES = 4
IMAGE = 48, 48, 3  # large enough that 0.1, added up in float32 one after the other, is off by more than `ROUNDING`
ROUNDING = 1e-6
EXACT = 1e-12
PERCENTILES = 25, 50, 90
LOW, HIGH, BINS = -5.0, 5.0, 1000


class Expected(NamedTuple):
    """The number that is wanted: NaN, or within `allowed` of `value`, which may be an array."""

    value: Any
    allowed: float


Expectation = Mapping[str, Expected]
"""What is appended to the metric's path -> what is written there; without examples, nothing."""


class Kind(NamedTuple):
    """A kind of value that is added, without the numbers.

    Attributes:
      finisher: its name on the page.
      dtype: of the values, a key of `DTYPES` or what pairs have.
      shape: of a row.
      weighted: the kind of the weights.
    """

    finisher: str
    dtype: str
    shape: tuple[int, ...]
    weighted: str

    @property
    def adds_up(self) -> bool:
        """True if it is a sum, and not a minimum or maximum."""
        return self.finisher not in ("min", "max")

    @property
    def is_of_elements(self) -> bool:
        """True if the values may be cut along each axis: no axis has a meaning."""
        return self.finisher in _OF_ELEMENTS and self.finisher != "per_class"


@dataclasses.dataclass(frozen=True, eq=False)
class Metric:
    """Numbers, and how they are finished.

    Attributes:
      kind: what they are.
      values: (rows, ...).
      weights: None, or (rows, ...).
    """

    kind: Kind
    values: np.ndarray
    weights: np.ndarray | None

    @property
    def finish(self) -> Any:
        """The `finish` that `metrics.add` gets."""
        return ({**_OF_ELEMENTS, **_OF_PAIRS})[self.kind.finisher][0]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The data by the keys' ends."""
        return {"values": self.values} if self.weights is None else {"values": self.values, "weights": self.weights}

    def add(self, name: str, values: Any, weights: Any) -> None:
        """Add some rows, in a step."""
        if self.kind.finisher in _OF_PAIRS:
            values, weights = _OF_PAIRS[self.kind.finisher][2](values, weights), None
        metrics.add(name, values, weights, finish=self.finish)

    def expected(self, rows: np.ndarray) -> Expectation:
        """Return what is written after these rows."""
        values = self.values[rows]
        values = values.astype(
            np.longdouble if values.dtype.kind in "iu" and values.dtype.itemsize == 8 else np.float64
        )
        weights = np.ones(len(rows)) if self.weights is None else self.weights[rows].astype(np.float64)
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        if self.kind.finisher in _OF_PAIRS:
            return _OF_PAIRS[self.kind.finisher][1](values, weights) if weights.any() else {}
        weights = np.broadcast_to(weights, values.shape)
        values = np.where(weights == 0, 0, values)  # a NaN under a mask does not count
        return _OF_ELEMENTS[self.kind.finisher][1](values, weights) if weights.any() else {}


def random_metric(rng: np.random.Generator, rows: int, fits: Callable[[Kind], bool]) -> Metric:
    """Return a metric of so many rows, of a kind that fits."""
    while not fits(kind := _random_kind(rng)):
        pass
    shape = rows, *kind.shape
    if kind.finisher in _OF_PAIRS:
        return Metric(kind, _random_pairs(rng, rows, kind.finisher), _random_weights(rng, kind, shape[:1]))
    values, weights = DTYPES[kind.dtype](rng, shape), _random_weights(rng, kind, shape)
    if kind.finisher in ("exp", "sqrt"):
        values = np.abs(values)
    if weights is not None and kind.dtype in _WITH_NAN and rng.random() < 0.3:
        values[weights == 0] = np.nan
    return Metric(kind, values, weights)


def _random_kind(rng: np.random.Generator) -> Kind:
    weighted = _one_of(rng, "none", *_WEIGHTS) if rng.random() < 0.97 else "all 0"
    if rng.random() < 0.2:
        finisher = _one_of(rng, *_OF_PAIRS)
        return Kind(finisher, "float32" if finisher == "auc" else "int64", (2,), weighted)
    finisher = _one_of(rng, *_OF_ELEMENTS)
    dtype = _one_of(rng, *_DTYPES_OF.get(finisher, DTYPES))
    if dtype == "float32 images":
        return Kind(finisher, dtype, IMAGE, weighted)
    shapes = [(3,), (2, 2, 3), *([] if finisher == "per_class" else [()])]
    return Kind(finisher, dtype, shapes[rng.integers(len(shapes))], weighted)


def _one_of(rng: np.random.Generator, *names: str) -> str:
    return names[rng.integers(len(names))]  # `rng.choice` takes ten times as long


def _random_weights(rng: np.random.Generator, kind: Kind, shape: tuple[int, ...]) -> np.ndarray | None:
    return np.zeros(shape[0], np.float32) if kind.weighted == "all 0" else _WEIGHTS[kind.weighted](rng, shape)


Made = Callable[[np.random.Generator, tuple[int, ...]], Any]
_WEIGHTS: dict[str, Made] = {
    "none": lambda rng, shape: None,
    "a mask": lambda rng, shape: (rng.random(shape[0]) < 0.6).astype(np.float32),
    "a bool mask": lambda rng, shape: rng.random(shape[0]) < 0.6,
    "floats": lambda rng, shape: _quarters(rng, shape[:1]),
    "floats, one per element": lambda rng, shape: _quarters(rng, shape),
}


def _quarters(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.integers(0, 9, shape) / 4).astype(np.float32)


def _sixteenths(dtype: Any) -> Made:
    """Return numbers in [-4, 4] that 8 bits hold, so that no dtype rounds them."""
    return lambda rng, shape: (rng.integers(-64, 65, shape) / 16).astype(dtype)


def _integers(dtype: Any, low: int, high: int) -> Made:
    return lambda rng, shape: rng.integers(low, high, shape, dtype=dtype)


# The kind of the values, as the page lists it -> what makes them.
DTYPES: dict[str, Made] = {
    "bool": lambda rng, shape: rng.random(shape) < 0.5,
    "uint8": _integers(np.uint8, 0, 256),
    "int32": _integers(np.int32, -(2**30), 2**30),
    "int64": _integers(np.int64, -(2**40), 2**40),
    "int64, Unix seconds": _integers(np.int64, 1_700_000_000, 1_700_000_060),
    "int64, nanoseconds": _integers(np.int64, 1_700_000_000 * 10**9, 1_700_000_060 * 10**9),
    "int64 near 2^62": _integers(np.int64, 2**61, 2**62),
    "uint64 above 2^63": _integers(np.uint64, 2**63, 2**64 - 1),
    "float16": _sixteenths(np.float16),
    "bfloat16": _sixteenths(tf.bfloat16.as_numpy_dtype),
    "float32": _sixteenths(np.float32),
    "float64": lambda rng, shape: rng.normal(size=shape),
    "float64 around 1e8": lambda rng, shape: 1e8 + rng.normal(size=shape),
    "float32 images": lambda rng, shape: (
        np.full(shape, 0.1, np.float32) * rng.integers(1, 3, (shape[0], 1, 1, 1)).astype(np.float32)
    ),
}
SMALL_FLOATS = ["float16", "bfloat16", "float32"]  # exact in bfloat16
_WITH_NAN = [*SMALL_FLOATS, "float64"]
_DTYPES_OF = {
    "exp": [*SMALL_FLOATS, "bool"],
    "sqrt": [*SMALL_FLOATS, "bool", "uint8", "float64", "float32 images"],
    "percentiles": [*SMALL_FLOATS, "bool"],
    "per_class": [*SMALL_FLOATS, "bool", "uint8", "int64 near 2^62", "float32 images", "float32 images"],
    "std": [*SMALL_FLOATS, "bool", "uint8", "int32", "int64, Unix seconds", "int64, nanoseconds", "float64 around 1e8"],
}  # fmt: skip


def _total(values: np.ndarray, weights: np.ndarray, axis: Any = None) -> np.ndarray:
    return np.asarray((values * weights).sum(axis), np.float64)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


def _expect_mean(values: np.ndarray, weights: np.ndarray) -> Expectation:
    return {"": Expected(_mean(values, weights), ROUNDING * _mean(np.abs(values), weights))}


def _expect_sum(values: np.ndarray, weights: np.ndarray) -> Expectation:
    return {"": Expected(float(_total(values, weights)), ROUNDING * float(_total(np.abs(values), weights)))}


def _expect_exp(values: np.ndarray, weights: np.ndarray) -> Expectation:
    mean = _mean(values, weights)
    return {"": Expected(np.exp(mean), ROUNDING * max(1, mean) * np.exp(mean))}


def _expect_sqrt(values: np.ndarray, weights: np.ndarray) -> Expectation:
    root = np.sqrt(_mean(values, weights))
    return {"": Expected(root, ROUNDING * root)}


def _expect_std(values: np.ndarray, weights: np.ndarray) -> Expectation:
    mean = (values * weights).sum() / weights.sum()
    deviation = np.sqrt(_mean((values - mean) ** 2, weights))
    return {"": Expected(deviation, ROUNDING * deviation + EXACT)}


def _expect_extreme(extreme: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, np.ndarray], Expectation]:
    def expect(values: np.ndarray, weights: np.ndarray) -> Expectation:
        found = float(extreme(values[weights != 0]))
        return {"": Expected(found, EXACT * abs(found))}

    return expect


def _expect_per_class(values: np.ndarray, weights: np.ndarray) -> Expectation:
    axes = tuple(range(values.ndim - 1))
    sums, sizes, counts = _total(values, weights, axes), _total(np.abs(values), weights, axes), weights.sum(axes)
    return {
        f"/class_{i}": Expected(float(sums[i] / counts[i]), ROUNDING * float(sizes[i] / counts[i]))
        for i in np.flatnonzero(counts)
    }


def _expect_percentiles(values: np.ndarray, weights: np.ndarray) -> Expectation:
    """Expect the first value up to which so much of the weight lies, to within a bin of the histogram."""
    order = np.argsort(values, axis=None)
    ordered, cumulative = values.ravel()[order], np.cumsum(weights.ravel()[order])
    places = [np.searchsorted(cumulative, q / 100 * cumulative[-1]) for q in PERCENTILES]
    return {
        f"/p{q}": Expected(float(ordered[place]), (HIGH - LOW) / BINS + EXACT)
        for q, place in zip(PERCENTILES, places, strict=True)
    }


def _shrunk(value: np.ndarray, count: np.ndarray) -> np.ndarray:
    return value / (count + 2)


def _expect_shrunk(values: np.ndarray, weights: np.ndarray) -> Expectation:
    count = weights.sum() + 2
    return {"": Expected(_total(values, weights) / count, ROUNDING * _total(np.abs(values), weights) / count)}


# Name on the page -> what `metrics.add` gets, and what it must write.
_OF_ELEMENTS: dict[str, tuple[Any, Callable[[np.ndarray, np.ndarray], Expectation]]] = {
    "mean": (None, _expect_mean),
    "sum": ("sum", _expect_sum),
    "exp": ("exp", _expect_exp),
    "sqrt": ("sqrt", _expect_sqrt),
    "std": ("std", _expect_std),
    "min": ("min", _expect_extreme(np.min)),
    "max": ("max", _expect_extreme(np.max)),
    "per_class": ("per_class", _expect_per_class),
    "percentiles": (metrics.percentiles(LOW, HIGH, PERCENTILES, BINS), _expect_percentiles),
    "a function": (_shrunk, _expect_shrunk),
}


def _confusion(pairs: Any, weights: Any) -> metrics.Tally:
    return metrics.confusion_matrix(pairs[:, 0], pairs[:, 1], CLASSES, weights)


def _scores(pairs: Any, weights: Any) -> metrics.Tally:
    return metrics.score_histogram(pairs[:, 0], pairs[:, 1], weights=weights)


def _expect_matrix(pairs: np.ndarray, weights: np.ndarray) -> Expectation:
    matrix = np.zeros((CLASSES, CLASSES))
    for (label, prediction), weight in _counted(pairs, weights):
        matrix[label, prediction] += weight
    return {"": Expected(matrix, ROUNDING * matrix.max())} if matrix.any() else {}


def _expect_score(score: str, average: str) -> Callable[[np.ndarray, np.ndarray], Expectation]:
    def expect(pairs: np.ndarray, weights: np.ndarray) -> Expectation:
        counted = list(_counted(pairs, weights))
        if not counted:
            return {}
        labels, predictions = zip(*(pair for pair, _ in counted), strict=True)
        occurring = sorted({*labels, *predictions})
        found = getattr(sklearn_metrics, f"{score}_score")(
            labels,
            predictions,
            labels=occurring,
            average=average if average != "per_class" else None,
            sample_weight=[weight for _, weight in counted],
            zero_division=0,
        )
        paths = [f"/class_{i}" for i in occurring] if average == "per_class" else [""]
        return {path: Expected(float(each), ROUNDING) for path, each in zip(paths, np.atleast_1d(found), strict=True)}

    return expect


def _counted(pairs: np.ndarray, weights: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    inside = ((pairs >= 0) & (pairs < CLASSES)).all(1) & (weights[:, 0] != 0)
    return [((int(a), int(b)), float(w)) for (a, b), w in zip(pairs[inside], weights[inside, 0], strict=True)]


def _expect_auc(pairs: np.ndarray, weights: np.ndarray) -> Expectation:
    counted = weights[:, 0] != 0
    labels, scores = pairs[counted].T
    if len({*labels}) < 2:
        return {"": Expected(np.nan, 0)}
    area = sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights[counted, 0])
    return {"": Expected(float(area), ROUNDING)}


_AVERAGES = "macro", "micro", "per_class"
# Name on the page -> what `metrics.add` gets, what it must write, and what makes the tally of pairs.
_OF_PAIRS: dict[str, tuple[Any, Callable[[np.ndarray, np.ndarray], Expectation], Callable[[Any, Any], Any]]] = {
    "confusion_matrix": ("confusion_matrix", _expect_matrix, _confusion),
    "auc": ("auc", _expect_auc, _scores),
    **{
        f"{score}_{average}": (f"{score}_{average}", _expect_score(score, average), _confusion)
        for score in ("precision", "recall", "f1")
        for average in _AVERAGES
    },
}
FINISHERS = [*_OF_ELEMENTS, *_OF_PAIRS]


def _random_pairs(rng: np.random.Generator, rows: int, finisher: str) -> np.ndarray:
    """Return (label, prediction): 0 or 1, and a score in (0, 1); or classes, some of them out of range."""
    if finisher == "auc":
        return np.stack([rng.integers(0, 2, rows), rng.integers(1, 16, rows) / 16], 1).astype(np.float32)
    return rng.integers(-1, CLASSES + 1, (rows, 2))
