"""Write keras_metrics.md: for each class of `keras.metrics`, whether it is exact, found by running it.

python docs/make_keras_metrics.py            # writes the page
python docs/make_keras_metrics.py --check    # exit code 1 if the page is out of date
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tallyloop.metrics import KerasMetric, MetricRegistry, UsageError

PAGE = Path(__file__).parent / "keras_metrics.md"
ROWS = 63
PIECES = (40, 0, 22, 1)  # how an evaluation is cut: unequal, one replica empty, one row left
TOLERANCE = 1e-6  # relative; Keras's own result is of float32


@dataclasses.dataclass(frozen=True)
class Case:
    """How one metric is run.

    Attributes:
      data: the kind of data that it takes; see `data`.
      arguments: of its constructor.
      gin: those arguments as a user binds them.
      make: what makes the metric; by default the class of that name in `keras.metrics`.
      note: what to write beside the result.
    """

    data: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gin: tuple[str, ...] = ()
    make: Callable[..., keras.metrics.Metric] | None = None
    note: str = ""


class LargestError(keras.metrics.Metric):
    """A metric whose state is a maximum."""

    def __init__(self, name="largest_error", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.largest = self.add_variable((), "zeros", name="largest")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Keep the largest error."""
        self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(keras.ops.abs(y_true - y_pred))))

    def result(self):
        """Return the largest error."""
        return self.largest


class LastError(keras.metrics.Metric):
    """A metric whose state is the last batch's value."""

    def __init__(self, name="last_error", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.last = self.add_variable((), "zeros", name="last")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Replace the state."""
        self.last.assign(keras.ops.sum(keras.ops.abs(y_true - y_pred)))

    def result(self):
        """Return the last value."""
        return self.last


class CountOfHits(keras.metrics.Metric):
    """A metric whose result is its variable, as in the docstring of `keras.metrics.Metric`."""

    def __init__(self, name="count_of_hits", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.hits = self.add_variable((), "zeros", name="hits")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add the weight of the rows that are close."""
        hits = keras.ops.cast(keras.ops.max(keras.ops.abs(y_true - y_pred), -1) < 0.05, self.dtype)
        self.hits.assign_add(keras.ops.sum(hits if sample_weight is None else hits * sample_weight))

    def result(self):
        """Return the variable itself."""
        return self.hits


class MeanOfBatchMeans(keras.metrics.Metric):
    """A metric that adds up means of batches."""

    def __init__(self, name="mean_of_batch_means", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", name="total")
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add the batch's mean."""
        self.total.assign_add(keras.ops.mean(keras.ops.abs(y_true - y_pred)))
        self.batches.assign_add(1.0)

    def result(self):
        """Return the mean of means."""
        return self.total / self.batches


class TotalAndCount(keras.metrics.Metric):
    """A metric with a sum and a count over examples, as it should be."""

    def __init__(self, name="total_and_count", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add the weighted errors and the weights."""
        error = keras.ops.cast(keras.ops.mean(keras.ops.abs(y_true - y_pred), -1), self.dtype)
        weight = keras.ops.ones_like(error) if sample_weight is None else keras.ops.cast(sample_weight, self.dtype)
        self.total.assign_add(keras.ops.sum(error * weight))
        self.count.assign_add(keras.ops.sum(weight))

    def result(self):
        """Return the weighted mean."""
        return self.total / self.count


class NamedResults(TotalAndCount):
    """A metric of several numbers, one of them a variable and one a vector."""

    def result(self):
        """Return a dict."""
        return {"total": self.total, "both": keras.ops.stack([self.total * 1, self.count * 1])}


_MEAN_IOU = Case("classes", {"num_classes": 4}, ("num_classes = 4",))
_IOU = Case("classes", {"num_classes": 4, "target_class_ids": [1, 3]}, ("num_classes = 4", "target_class_ids = [1, 3]"))

EXPORTED = {
    "AUC": Case("binary"),
    "Accuracy": Case("classes"),
    "BinaryAccuracy": Case("binary"),
    "BinaryCrossentropy": Case("binary"),
    "BinaryIoU": Case("binary"),
    "CategoricalAccuracy": Case("one_hot"),
    "CategoricalCrossentropy": Case("one_hot"),
    "CategoricalHinge": Case("one_hot"),
    "ConcordanceCorrelation": Case("vectors", note="the mean over examples of each one's correlation (axis=-1)"),
    "CosineSimilarity": Case("vectors"),
    "F1Score": Case("one_hot"),
    "FBetaScore": Case("one_hot", {"beta": 2.0}, ("beta = 2.0",)),
    "FalseNegatives": Case("binary"),
    "FalsePositives": Case("binary"),
    "Hinge": Case("vectors"),
    "IoU": _IOU,
    "KLDivergence": Case("one_hot"),
    "LogCoshError": Case("vectors"),
    "Mean": Case("values", note="of the outputs; KerasMetric.labels = None"),
    "MeanAbsoluteError": Case("vectors"),
    "MeanAbsolutePercentageError": Case("vectors"),
    "MeanIoU": _MEAN_IOU,
    "MeanMetricWrapper": Case(
        "vectors",
        {"fn": keras.losses.mean_squared_error},
        note="needs `fn`, which returns one number per example; bind a function of your own that is `@gin.configurable`",
    ),
    "MeanSquaredError": Case("vectors"),
    "MeanSquaredLogarithmicError": Case("vectors"),
    "Metric": Case("vectors", note="the base class, which measures nothing"),
    "OneHotIoU": dataclasses.replace(_IOU, data="one_hot"),
    "OneHotMeanIoU": dataclasses.replace(_MEAN_IOU, data="one_hot"),
    "PearsonCorrelation": Case("vectors", note="the mean over examples of each one's correlation (axis=-1)"),
    "Poisson": Case("vectors"),
    "Precision": Case("binary"),
    "PrecisionAtRecall": Case("binary", {"recall": 0.6}, ("recall = 0.6",)),
    "R2Score": Case("vectors"),
    "Recall": Case("binary"),
    "RecallAtPrecision": Case("binary", {"precision": 0.6}, ("precision = 0.6",)),
    "RootMeanSquaredError": Case("vectors"),
    "SensitivityAtSpecificity": Case("binary", {"specificity": 0.6}, ("specificity = 0.6",)),
    "SparseCategoricalAccuracy": Case("sparse"),
    "SparseCategoricalCrossentropy": Case("sparse"),
    "SparseTopKCategoricalAccuracy": Case("sparse", {"k": 2}, ("k = 2",)),
    "SpecificityAtSensitivity": Case("binary", {"sensitivity": 0.6}, ("sensitivity = 0.6",)),
    "SquaredHinge": Case("vectors"),
    "Sum": Case("values", note="of the outputs; KerasMetric.labels = None"),
    "TopKCategoricalAccuracy": Case("one_hot", {"k": 2}, ("k = 2",)),
    "TrueNegatives": Case("binary"),
    "TruePositives": Case("binary"),
}
OTHERS = {
    "PearsonCorrelation(axis=0)": Case("vectors", {"axis": 0}, make=keras.metrics.PearsonCorrelation),
    "ConcordanceCorrelation(axis=0)": Case("vectors", {"axis": 0}, make=keras.metrics.ConcordanceCorrelation),
    "your own, with a total and a count": Case("vectors", make=TotalAndCount),
    "your own, whose result is its variable": Case("vectors", make=CountOfHits),
    "your own, whose result is a dict": Case("vectors", make=NamedResults),
    "your own, whose state is a maximum": Case("vectors", make=LargestError),
    "your own, whose state is the last value": Case("vectors", make=LastError),
    "your own, which averages each batch": Case("vectors", make=MeanOfBatchMeans),
}
# class -> kinds of data and further arguments that it is run with
FURTHER: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "AUC": [
        ("binary", {"curve": "PR"}), ("binary", {"curve": "PR", "summation_method": "majoring"}),
        ("binary", {"summation_method": "minoring", "num_thresholds": 7}), ("binary", {"thresholds": [0.2, 0.7]}),
        ("binary_logits", {"from_logits": True}), ("multi_label", {"multi_label": True}),
        ("multi_label", {"multi_label": True, "num_labels": 3, "curve": "PR"}),
        ("multi_label", {"multi_label": True, "label_weights": [1.0, 2.0, 0.5]}), ("multi_label", {}),
    ],
    "Accuracy": [("class_columns", {})],
    "BinaryAccuracy": [("binary", {"threshold": 0.3}), ("multi_label", {})],
    "BinaryCrossentropy": [
        ("binary_logits", {"from_logits": True}), ("multi_label", {"label_smoothing": 0.1}), ("flat_binary", {}),
    ],
    "BinaryIoU": [("binary", {"target_class_ids": [0], "threshold": 0.3}), ("pixels", {"target_class_ids": [1]})],
    "CategoricalAccuracy": [("one_hot_sequences", {})],
    "CategoricalCrossentropy": [
        ("one_hot_logits", {"from_logits": True}), ("one_hot", {"label_smoothing": 0.1}), ("one_hot_sequences", {}),
    ],
    "CategoricalHinge": [("signs", {})],
    "ConcordanceCorrelation": [("vector_sequences", {})],
    "CosineSimilarity": [("vector_sequences", {"axis": 1}), ("vector_sequences", {"axis": -1})],
    "F1Score": [
        ("one_hot", {"average": average, "threshold": threshold})
        for average in (None, "micro", "macro", "weighted") for threshold in (None, 0.3)
    ] + [("multi_label", {"average": "macro", "threshold": 0.5})],
    "FBetaScore": [("one_hot", {"average": average, "beta": 0.5}) for average in ("micro", "macro", "weighted")],
    "FalseNegatives": [("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("multi_label", {"thresholds": 0.3})],
    "FalsePositives": [("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("multi_label", {"thresholds": 0.3})],
    "Hinge": [("signs", {}), ("binary", {})],
    "IoU": [
        ("classes", {"ignore_class": 0}), ("classes", {"target_class_ids": [0]}), ("sparse", {"sparse_y_pred": False}),
        ("one_hot", {"sparse_y_true": False, "sparse_y_pred": False}), ("pixels", {}),
    ],
    "KLDivergence": [("one_hot_sequences", {})],
    "LogCoshError": [("vector_sequences", {})],
    "Mean": [("columns", {}), ("values", {"dtype": "float64"})],
    "MeanAbsoluteError": [("vector_sequences", {}), ("flat_binary", {})],
    "MeanAbsolutePercentageError": [("vector_sequences", {})],
    "MeanIoU": [
        ("classes", {"ignore_class": 2}), ("sparse", {"sparse_y_pred": False}), ("pixels", {"ignore_class": 1}),
        ("classes", {"dtype": "float64"}),
    ],
    "MeanMetricWrapper": [("binary", {"fn": keras.losses.binary_crossentropy, "from_logits": False})],
    "MeanSquaredError": [("vector_sequences", {}), ("flat_binary", {}), ("vectors", {"dtype": "float64"})],
    "MeanSquaredLogarithmicError": [("vector_sequences", {})],
    "OneHotIoU": [("one_hot", {"ignore_class": 0}), ("one_hot_to_class", {"sparse_y_pred": True})],
    "OneHotMeanIoU": [("one_hot", {"ignore_class": 1}), ("one_hot_to_class", {"sparse_y_pred": True})],
    "PearsonCorrelation": [("vector_sequences", {})],
    "Poisson": [("vector_sequences", {})],
    "Precision": [
        ("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("binary", {"thresholds": 0.0}), ("one_hot", {"top_k": 2}),
        ("one_hot", {"class_id": 1}), ("one_hot", {"class_id": 2, "top_k": 2}), ("multi_label", {}),
    ],
    "PrecisionAtRecall": [("one_hot", {"class_id": 1}), ("binary", {"recall": 0.2, "num_thresholds": 11})],
    "R2Score": [
        ("vectors", {"class_aggregation": None}), ("vectors", {"class_aggregation": "variance_weighted_average"}),
        ("vectors", {"num_regressors": 2}), ("binary", {}),
    ],
    "Recall": [
        ("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("binary", {"thresholds": 0.9}), ("one_hot", {"top_k": 2}),
        ("one_hot", {"class_id": 1}), ("one_hot", {"class_id": 2, "top_k": 2}), ("multi_label", {}),
    ],
    "RecallAtPrecision": [("one_hot", {"class_id": 1}), ("binary", {"precision": 0.8, "num_thresholds": 11})],
    "RootMeanSquaredError": [("vector_sequences", {}), ("flat_binary", {})],
    "SensitivityAtSpecificity": [("one_hot", {"class_id": 1}), ("binary", {"specificity": 0.2, "num_thresholds": 11})],
    "SparseCategoricalAccuracy": [("sparse_sequences", {})],
    "SparseCategoricalCrossentropy": [
        ("sparse_logits", {"from_logits": True}), ("sparse_sequences", {}),
    ],
    "SparseTopKCategoricalAccuracy": [("sparse", {"k": 3}), ("sparse_sequences", {"k": 1})],
    "SpecificityAtSensitivity": [("one_hot", {"class_id": 1}), ("binary", {"sensitivity": 0.2, "num_thresholds": 11})],
    "SquaredHinge": [("signs", {})],
    "Sum": [("columns", {})],
    "TopKCategoricalAccuracy": [("one_hot", {"k": 1}), ("one_hot_sequences", {"k": 3})],
    "TrueNegatives": [("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("multi_label", {"thresholds": 0.3})],
    "TruePositives": [("binary", {"thresholds": [0.2, 0.5, 0.8]}), ("multi_label", {"thresholds": 0.3})],
}  # fmt: skip


def _title(name: str, kind: str, arguments: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key}={getattr(value, '__name__', None) or repr(value)}" for key, value in arguments.items())
    return f"{name}({shown}) of {kind}"


CONFIGURATIONS = {
    _title(name, kind, arguments): Case(
        kind, {**EXPORTED[name].arguments, **arguments}, make=getattr(keras.metrics, name)
    )
    for name, each in FURTHER.items()
    for kind, arguments in each
}
CASES = {**EXPORTED, **OTHERS, **CONFIGURATIONS}
VALUES = ("values", "columns")  # the kinds of data without labels


def exported() -> list[str]:
    """Return the names of the metric classes that this Keras exports, each once."""
    found = {each for _, each in inspect.getmembers(keras.metrics, inspect.isclass)}
    return sorted(each.__name__ for each in found)


@functools.cache
def data(kind: str) -> dict[str, np.ndarray]:
    """Return labels y, predictions p and weights w of `ROWS` examples; some weights are 0."""
    rng = np.random.default_rng(11)
    classes = rng.integers(0, 4, ROWS)
    scores = rng.uniform(0.05, 1, (ROWS, 4)) + 0.5 * np.eye(4)[classes]
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    vectors = rng.uniform(0.1, 0.9, (ROWS, 3)).astype(np.float32)
    binary = rng.integers(0, 2, (ROWS, 1)).astype(np.float32)
    probability = (0.6 * rng.uniform(0, 1, (ROWS, 1)) + 0.4 * binary * rng.uniform(0, 1, (ROWS, 1))).astype(np.float32)
    more = np.random.default_rng(12)
    several = (more.uniform(size=(ROWS, 3)) < 0.4).astype(np.float32)
    guesses = (0.5 * several + more.uniform(0, 0.5, several.shape)).astype(np.float32)
    later = np.stack([classes, more.permutation(classes)], 1)  # sequences of two
    later_scores = np.stack([scores, more.permutation(scores)], 1)
    two_vectors = np.stack([vectors, vectors[:, ::-1]], 1)
    labels_and_predictions = {
        "binary_logits": (binary, np.log(probability / (1 - probability))),
        "flat_binary": (binary[:, 0], probability[:, 0]),
        "multi_label": (several, guesses),
        "class_columns": (later, more.integers(0, 4, (ROWS, 2))),
        "pixels": (later, more.integers(0, 4, (ROWS, 2))),
        "columns": (np.zeros(ROWS, np.float32), vectors),
        "one_hot_logits": (np.eye(4, dtype=np.float32)[classes], np.log(scores)),
        "one_hot_sequences": (np.eye(4, dtype=np.float32)[later], later_scores),
        "one_hot_to_class": (np.eye(4, dtype=np.float32)[classes], more.integers(0, 4, ROWS)),
        "signs": (2 * several - 1, 2 * guesses - 1),
        "sparse_logits": (classes.astype(np.int64), np.log(scores)),
        "sparse_sequences": (later.astype(np.int64), later_scores),
        "vector_sequences": (two_vectors, (two_vectors * more.uniform(0.8, 1.2, two_vectors.shape)).astype(np.float32)),
        "binary": (binary, probability),
        "one_hot": (np.eye(4, dtype=np.float32)[classes], scores),
        "sparse": (classes.astype(np.int64), scores),
        "classes": (classes.astype(np.int64), rng.integers(0, 4, ROWS)),
        "vectors": (vectors, (vectors + rng.normal(0, 0.05, vectors.shape)).astype(np.float32)),
        "values": (np.zeros(ROWS, np.float32), vectors[:, 0]),
    }
    y, p = labels_and_predictions[kind]
    w = np.where(rng.uniform(size=ROWS) < 0.3, 0, rng.integers(1, 5, ROWS)).astype(np.float32)
    return {"y": y, "p": p, "w": np.stack([w, w[::-1]], 1) if kind == "pixels" else w}


def make(name: str, **more) -> keras.metrics.Metric:
    """Return the metric of a case."""
    case = CASES[name]
    return (case.make or getattr(keras.metrics, name))(**case.arguments, **more)


@functools.cache
def tallied(name: str, weighted: bool) -> KerasMetric:
    """Return the metric of a case as a metric function."""
    labels = None if CASES[name].data in VALUES else "y"
    return KerasMetric(make(name), labels=labels, weights="w" if weighted else None)


@functools.cache
def one_pass(name: str, weighted: bool) -> np.ndarray:
    """Return what Keras gives on one device for all examples at once."""
    metric, values = make(name), data(CASES[name].data)
    arguments = [values["p"]] if CASES[name].data in VALUES else [values["y"], values["p"]]
    if all(each.ndim == 1 for each in arguments):  # Keras would average over the batch
        arguments = [each[:, np.newaxis] for each in arguments]
    metric.update_state(*arguments, sample_weight=values["w"] if weighted else None)
    result = metric.result()
    numbers = [
        np.ravel(keras.ops.convert_to_numpy(each))
        for each in (result.values() if isinstance(result, Mapping) else [result])
    ]
    assert np.isfinite(np.concatenate(numbers)).all(), f"{name}: its data says nothing"
    return np.squeeze(np.concatenate(numbers).astype(np.float64))


def pieces(kind: str) -> list[dict[str, tf.Tensor]]:
    """Return the examples, cut as `PIECES` says."""
    ends = np.cumsum(PIECES)
    return [
        {key: tf.constant(value[end - size : end]) for key, value in data(kind).items()}
        for end, size in zip(ends, PIECES, strict=True)
    ]


def added_up(name: str, weighted: bool) -> np.ndarray:
    """Return what the tallies of the pieces give."""
    registry, total = MetricRegistry({"m": tallied(name, weighted)}), None
    for piece in pieces(CASES[name].data):
        total = registry.merge(total, registry.compute(piece, piece["p"]))
    return as_array(registry.result(total), "m")


def as_array(result: Mapping[str, Any], path: str) -> np.ndarray:
    """Return the number at `path`, or the vector of the numbers below it."""
    below = [value for found, value in result.items() if found.startswith(path + "/")]
    return np.asarray(below or result[path], np.float64)


@functools.cache
def treatment(name: str) -> tuple[str, str]:
    """Return ("exact" or "refused", the note or reason).

    Raises:
      AssertionError: neither is true: the number is wrong.
    """
    try:
        for weighted in (False, True):
            np.testing.assert_allclose(
                added_up(name, weighted), one_pass(name, weighted), rtol=TOLERANCE, err_msg=f"{name}, {weighted=}"
            )
    except UsageError as error:
        return "refused", _reason(str(error))
    return "exact", CASES[name].note


def _reason(message: str) -> str:
    """Return why a metric is refused.

    Raises:
      AssertionError: for no reason that a page should have.
    """
    known = ("its state is not a sum", "its result depends on how the examples are cut into batches")
    if found := next((reason for reason in known if reason in message), None):
        return found
    assert message.startswith("Keras metric Metric "), message
    return "it takes no data: it has no `update_state`"


def binding(name: str) -> str:
    """Return how a user binds it in gin, with its full name: many losses have the same short name."""
    if treatment(name)[0] == "refused":
        return ""
    full = f"keras.metrics.{name}"
    lines = [f"KerasMetric.metric = @{full}()", *(f"{full}.{line}" for line in CASES[name].gin)]
    if CASES[name].data in VALUES:
        lines.append("KerasMetric.labels = None")
    return "<br>".join(f"`{line}`" for line in lines)


_TOP = """# Keras metrics

For users of `keras.metrics`: which metrics Tallyloop computes exactly on any number of replicas, and how to bind them.

```python
import keras
import tensorflow as tf
from tallyloop.metrics import KerasMetric, MetricRegistry

registry = MetricRegistry({"auc": keras.metrics.AUC(), "weighted": KerasMetric(keras.metrics.AUC(), weights="w")})
total = None
for rows in (3, 0, 1):  # batches of any size
    batch = {"y": tf.constant([0.0, 1, 1][:rows]), "w": tf.ones([rows])}
    total = registry.merge(total, registry.compute(batch, tf.constant([0.2, 0.4, 0.9][:rows])))
print(registry.result(total))
```

A task takes Keras metrics the same way, in `Task.metrics`. `KerasMetric` names the data that a metric gets:

| argument | default | meaning |
|---|---|---|
| `labels` | `"y"` | the batch's key of `y_true`; None for a metric of values alone, such as `Mean` |
| `predictions` | None | the outputs' key of `y_pred`; None if the outputs are the predictions |
| `weights` | None | the batch's key of `sample_weight`; None for no weights |

In gin, it is a reference:

```gin
MyTask.metrics = {"auc": @KerasMetric()}
KerasMetric.metric = @keras.metrics.AUC()
KerasMetric.weights = "w"
```

Two of them need scopes: `@auc/KerasMetric()` with `auc/KerasMetric.metric = @keras.metrics.AUC()`.

Keras's errors and losses (`MeanSquaredError`, `BinaryCrossentropy`, `Hinge`, ...) average over the last axis first. Give them
labels and predictions of shape (batch, 1) where you can. If both have shape (batch,), Tallyloop adds that axis itself, because
Keras would otherwise average over the batch.

## Which metrics are exact

`docs/make_keras_metrics.py` generates this table by running each metric. Keras computes it in one pass over all examples;
Tallyloop computes it from pieces of unequal size, one of them empty, with and without weights.

- **exact**: the tallies of the pieces add up to the number of the one pass (relative difference at most 1e-6). The tally is
  the state that `update_state` adds; what is written is the `result` of the summed state.
- **refused**: the state is not a sum, so adding up cannot give the right number. The first step raises an error that names
  the metric, before anything is trained or written.

"""


def page() -> str:
    """Return the page, with the results of running each metric."""
    rows = ["| `keras.metrics` | result | note | gin |", "|---|---|---|---|"]
    rows += [f"| `{name}` | {_cells(name)} | {binding(name)} |" for name in EXPORTED]
    rows += [
        "",
        "Further arguments and kinds of data, run in the same way:",
        "",
        "| `keras.metrics` | result | note |",
        "|---|---|---|",
    ]
    rows += [f"| `{name}` | {_cells(name)} |" for name in CONFIGURATIONS]
    more = ["", "| others | result | note |", "|---|---|---|"] + [f"| {name} | {_cells(name)} |" for name in OTHERS]
    return _TOP + "\n".join([*rows, *more]) + "\n"


def _cells(name: str) -> str:
    kind, why = treatment(name)
    return f"{kind} | {why}"


if __name__ == "__main__":
    new = page()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.exists() and PAGE.read_text() == new else f"{PAGE.name} is out of date: run {__file__}")
    PAGE.write_text(new)
