"""However the examples are cut over batches and replicas, the numbers are those of NumPy in float64 over all of them."""

import functools
import itertools
import warnings

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry
from tallyloop.metrics.device.accumulator import Accumulator

WIDTH, CLASSES, MOST_ROWS = 2, 3, 12
RELATIVE = 2e-6  # of the mean absolute value: float32 sums of a few dozen values, in any order
FINITE = st.floats(-100, 100, width=32)
WEIGHT = st.just(0.0) | st.floats(0.0625, 8, width=32)
BAD = st.sampled_from([np.nan, np.inf, -np.inf, 1e38])
FIXED = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@st.composite
def examples(draw, replicas):
    """A few rows of data, and where they are cut into 1 to 3 batches of `replicas` pieces."""
    rows = draw(st.integers(0, MOST_ROWS))
    mask = draw(arrays.arrays(np.float32, (rows, WIDTH), elements=WEIGHT))
    x = draw(arrays.arrays(np.float32, (rows, WIDTH), elements=FINITE))
    batches = draw(st.integers(1, 3))
    inner = draw(st.lists(st.integers(0, rows), min_size=batches * replicas - 1, max_size=batches * replicas - 1))
    return {
        "x": x,
        "hidden": np.where(mask == 0, np.float32(draw(BAD)), x),
        "mask": mask,
        "w": draw(arrays.arrays(np.float32, rows, elements=WEIGHT)),
        "label": draw(arrays.arrays(np.int64, rows, elements=st.integers(-1, CLASSES - 1))),
        "guess": draw(arrays.arrays(np.int64, rows, elements=st.integers(0, CLASSES - 1))),
    }, np.array([0, *sorted(inner), rows], np.int64)


def step(batch):
    """What a replica adds."""
    metrics.add("mean", batch["x"])
    metrics.add("rows", batch["x"], weights=batch["w"])
    metrics.add("tokens", batch["hidden"], weights=batch["mask"])
    metrics.add("sum", batch["hidden"], weights=batch["mask"], finish="sum")
    metrics.add("exp", batch["hidden"] / 16, weights=batch["mask"], finish="exp")
    metrics.add("rms", batch["x"] ** 2, weights=batch["w"], finish="sqrt")
    metrics.add("std", batch["hidden"], weights=batch["mask"], finish="std")
    metrics.add("max", batch["hidden"], weights=batch["mask"], finish="max")
    metrics.add("min", batch["hidden"], weights=batch["mask"], finish="min")
    metrics.add("class", batch["hidden"], weights=batch["mask"], finish="per_class")
    metrics.add("hits", batch["label"] == batch["guess"])
    metrics.add("own", batch["x"], finish=lambda value, count: value + count)
    matrix = metrics.confusion_matrix(batch["label"], batch["guess"], CLASSES, batch["w"])
    metrics.add("matrix", matrix, finish="confusion_matrix")
    metrics.add("recall", matrix, finish="recall_per_class")
    metrics.add("f1", matrix, finish="f1_micro")
    scores = tf.cast(batch["guess"], tf.float32) / (CLASSES - 1)
    metrics.add("auc", metrics.score_histogram(batch["label"], scores, 8, batch["w"]), finish="auc")


def expected(data):
    """path -> (what it should be, how far off it may be)."""
    x, mask, w = (data[key].astype(np.float64) for key in ("x", "mask", "w"))
    label, guess = data["label"], data["guess"]
    found = {}
    if x.size:
        found["mean"] = x.mean(), np.abs(x).mean()
        found["hits"] = (label == guess).mean(), 0
        found["own"] = x.sum() + x.size, np.abs(x).sum()
    if w.any():
        each = np.repeat(w[:, None], WIDTH, 1)
        found["rows"] = np.average(x, weights=each), np.average(np.abs(x), weights=each)
        found["rms"] = np.sqrt(np.average(x**2, weights=each)), np.abs(x).max()
    if mask.any():
        size = np.average(np.abs(x), weights=mask)
        counted = x[mask != 0]
        mean = np.average(x, weights=mask)
        found["tokens"] = mean, size
        found["sum"] = (x * mask).sum(), (np.abs(x) * mask).sum()
        found["exp"] = np.exp(mean / 16), np.exp(mean / 16) * size / 16
        found["std"] = np.sqrt(np.average((x - mean) ** 2, weights=mask)), np.abs(counted).max()
        found["max"], found["min"] = (counted.max(), 0), (counted.min(), 0)
        for i in np.flatnonzero(mask.any(0)):
            average = functools.partial(np.average, weights=mask[:, i])
            found[f"class/class_{i}"] = average(x[:, i]), average(np.abs(x[:, i]))
    inside = label >= 0
    if w[inside].any():
        matrix = np.zeros([CLASSES, CLASSES])
        np.add.at(matrix, (label[inside], guess[inside]), w[inside])
        found["matrix"] = matrix, matrix.sum()
        found["f1"] = np.trace(matrix) / matrix.sum(), 1
        for i in np.flatnonzero(matrix.sum(0) + matrix.sum(1)):
            found[f"recall/class_{i}"] = matrix[i, i] / (matrix[i].sum() or 1), 1
    if w.any():
        above = guess[:, None] > guess[None]
        ties = guess[:, None] == guess[None]
        pairs = np.outer(w * (label > 0), w * (label <= 0))
        found["auc"] = (pairs * (above + ties / 2)).sum() / pairs.sum() if pairs.any() else np.nan, 1
    return found


class Loop:
    """One trace for a number of replicas; each takes its piece of a padded batch."""

    def __init__(self, strategy):
        self.registry = MetricRegistry()
        self._strategy = strategy
        self._accumulator = Accumulator(strategy, self.registry.layout)
        self.step = tf.function(self._step, autograph=False)

    def run(self, data, cuts):
        padded = {key: np.concatenate([each, np.zeros((MOST_ROWS - len(each), *each.shape[1:]), each.dtype)])
                  for key, each in data.items()}  # fmt: skip
        replicas = self._strategy.num_replicas_in_sync
        for first in range(0, len(cuts) - 1, replicas):
            self.step(padded, tf.constant(cuts[first : first + replicas + 1]))
        return self.registry.result(self._accumulator.drain().tallies())

    def _step(self, batch, cuts):
        self._accumulator.add(self._strategy.run(self._replica, args=(batch, cuts)))

    def _replica(self, batch, cuts):
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        with self.registry.recording():
            step({key: each[cuts[index] : cuts[index + 1]] for key, each in batch.items()})
            return self._accumulator.pack(self.registry.compute(None, None), tf.constant(True))


def check(found, expected):
    assert set(found) == set(expected)
    for path, (value, scale) in expected.items():
        np.testing.assert_allclose(found[path], value, rtol=RELATIVE, atol=RELATIVE * scale + 1e-12, err_msg=path)


@pytest.mark.parametrize("cases", [30, pytest.param(130, marks=pytest.mark.slow)])
@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_any_cut_gives_the_numbers_of_numpy(mirrored_on, replicas, cases):
    loop = Loop(mirrored_on(replicas))

    @settings(FIXED, max_examples=cases)
    @given(examples(replicas))
    def holds(case):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            check(loop.run(*case), expected(case[0]))

    holds()
    assert loop.step.experimental_get_tracing_count() == 1


@settings(FIXED, max_examples=60)
@given(
    st.lists(st.integers(0, 2**40) | st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.integers(0, 8), max_size=4),
)
def test_merging_integers_is_exact_in_any_order(numbers, cuts):
    registry, bounds, total = MetricRegistry(), [0, *sorted(cuts), len(numbers)], None
    for start, stop in itertools.pairwise(bounds):
        with registry.recording():
            metrics.add("sum", tf.constant(numbers[start:stop], tf.int64), finish="sum")
            metrics.add("max", tf.constant([-1, *numbers[start:stop]], tf.int64), finish="max")
            total = registry.merge(registry.compute(None, None), total or {})
    assert registry.result(total) == {"sum": float(sum(numbers)), "max": float(max(numbers))}
    assert int(total["sum"].count) == len(numbers)
