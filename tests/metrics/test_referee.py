"""scikit-learn and NumPy as independent referees, over data that is cut into uneven pieces."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry

sklearn_metrics = pytest.importorskip("sklearn.metrics")

ROWS, CLASSES = 1003, 5
CUTS = (0, 400, 400, 401, 990, ROWS)  # an empty piece, one of one row
RNG = np.random.default_rng(23)
LABELS = RNG.choice([0, 1, 2, 4], size=ROWS, p=[0.5, 0.2, 0.2, 0.1])  # class 3 is only ever guessed
GUESSES = np.where(RNG.uniform(size=ROWS) < 0.6, LABELS, RNG.integers(0, CLASSES, ROWS))
WEIGHTS = RNG.uniform(0.5, 2, ROWS)
SCORES = np.clip(RNG.normal(0.45 + 0.15 * (LABELS > 0), 0.2), 0, 1)
SCORE_FUNCTIONS = {
    "f1": sklearn_metrics.f1_score,
    "precision": sklearn_metrics.precision_score,
    "recall": sklearn_metrics.recall_score,
}


def measured(step, rows=ROWS, cuts=CUTS):
    """Runs `step(piece)` on each piece and adds up."""
    registry, total = MetricRegistry(), None
    for start, stop in itertools.pairwise(cuts):
        with registry.recording():
            step(slice(start, min(stop, rows)))
            total = registry.merge(total, registry.compute(None, None))
    return registry.result(total)


def scored(labels, guesses, classes, weights=None):
    finishes = [f"{score}{average}" for score in SCORE_FUNCTIONS for average in ("", "_micro", "_macro", "_per_class")]

    def step(piece):
        weight = None if weights is None else weights[piece]
        matrix = metrics.confusion_matrix(labels[piece], guesses[piece], classes, weight)
        metrics.add("matrix", matrix, finish="confusion_matrix")
        for finish in finishes:
            metrics.add(finish, matrix, finish=finish)

    return measured(step)


@pytest.fixture(scope="module", params=[None, WEIGHTS], ids=["plain", "weighted"])
def many(request):
    return scored(LABELS, GUESSES, CLASSES, request.param), request.param


def test_the_confusion_matrix_is_that_of_sklearn(many):
    found, weights = many
    wanted = sklearn_metrics.confusion_matrix(LABELS, GUESSES, labels=range(CLASSES), sample_weight=weights)
    np.testing.assert_allclose(found["matrix"], wanted, rtol=1e-12)
    if weights is None:
        np.testing.assert_array_equal(found["matrix"], wanted)


@pytest.mark.parametrize("score", SCORE_FUNCTIONS)
@pytest.mark.parametrize("average", ["micro", "macro"])
def test_an_average_is_that_of_sklearn(many, score, average):
    found, weights = many
    wanted = SCORE_FUNCTIONS[score](LABELS, GUESSES, average=average, sample_weight=weights, zero_division=0)
    assert found[f"{score}_{average}"] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("score", SCORE_FUNCTIONS)
def test_each_class_has_the_score_of_sklearn(many, score):
    found, weights = many
    wanted = SCORE_FUNCTIONS[score](LABELS, GUESSES, average=None, sample_weight=weights, zero_division=0)
    assert [found[f"{score}_per_class/class_{i}"] for i in range(CLASSES)] == pytest.approx(list(wanted), rel=1e-12)


@pytest.mark.parametrize("score", SCORE_FUNCTIONS)
def test_of_two_classes_the_score_is_that_of_the_positive_one(score):
    labels, guesses = LABELS > 0, GUESSES > 0
    found = scored(labels, guesses, 2)
    assert found[score] == pytest.approx(SCORE_FUNCTIONS[score](labels, guesses), rel=1e-12)


@pytest.mark.parametrize("score", SCORE_FUNCTIONS)
def test_of_more_than_two_classes_the_score_without_an_average_is_the_macro_one(many, score):
    assert many[0][score] == many[0][f"{score}_macro"]


@pytest.mark.parametrize("bins", [10, 100, 1000])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_the_auc_is_off_by_at_most_half_of_the_pairs_that_share_a_bin(bins, weights):
    labels = (LABELS > 0).astype(np.int64)

    def step(piece):
        weight = None if weights is None else weights[piece]
        metrics.add("auc", metrics.score_histogram(labels[piece], SCORES[piece], bins, weight), finish="auc")

    each = np.ones(ROWS) if weights is None else weights
    cell = np.minimum(SCORES * bins, bins - 1).astype(int)
    positives, negatives = (np.bincount(cell, each * kept, bins) for kept in (labels, 1 - labels))
    tolerance = (positives * negatives).sum() / (positives.sum() * negatives.sum()) / 2
    wanted = sklearn_metrics.roc_auc_score(labels, SCORES, sample_weight=weights)
    assert measured(step)["auc"] == pytest.approx(wanted, abs=tolerance + 1e-12)
    assert tolerance < 0.5 / bins * 5  # the tolerance itself says something


def test_the_auc_of_scores_with_a_bin_each_is_exact():
    scores = np.minimum(np.floor(SCORES * 50), 49) / 50 + 0.01

    def step(piece):
        metrics.add("auc", metrics.score_histogram(LABELS[piece], scores[piece], 50), finish="auc")

    assert measured(step)["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(LABELS > 0, scores), rel=1e-12)


@pytest.mark.parametrize("name", ["normal", "uniform", "exponential"])
def test_percentiles_are_off_by_at_most_one_bin(name):
    values = getattr(RNG, name)(size=50_000)
    low, high, bins = float(values.min()), float(np.nextafter(values.max(), np.inf)), 200
    q = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0)

    def step(piece):
        metrics.add("p", tf.constant(values[piece]), finish=metrics.percentiles(low, high, q, bins))

    found = measured(step, len(values), (0, 20_000, 20_000, 20_001, len(values)))
    assert [found[f"p/p{each:g}"] for each in q] == pytest.approx(np.percentile(values, q), abs=(high - low) / bins)


@pytest.mark.parametrize("q", [0, 1, 7, 10, 29, 50, 57, 90, 99, 100])
@pytest.mark.parametrize("count", [1, 10, 100])
def test_percentiles_of_few_values_far_apart_are_those_of_the_inverted_distribution(q, count):
    """Between two values NumPy's default interpolates, over any number of empty bins; "inverted_cdf" takes a value."""
    values = np.linspace(0.2, 0.8, count) if count > 1 else np.array([0.6])

    def step(piece):
        metrics.add("p", tf.constant(values[piece]), finish=metrics.percentiles(0.0, 1.0, (q,), 1000))

    found = measured(step, count, (0, count // 2, count))[f"p/p{q}"]
    assert found == pytest.approx(np.percentile(values, q, method="inverted_cdf"), abs=1e-3 + 1e-9)


def test_percentiles_weigh_the_values():
    """A value of weight 3 is as three of them."""
    values, weights = np.array([0.15, 0.35, 0.55, 0.75]), np.array([1, 3, 0, 2])

    def step(piece):
        metrics.add("p", tf.constant(values), weights=weights, finish=metrics.percentiles(0, 1, (50.0, 90.0), 100))

    found = measured(step, 4, (0, 4))
    repeated = np.repeat(values, weights)
    wanted = np.percentile(repeated, [50, 90], method="inverted_cdf")
    assert [found["p/p50"], found["p/p90"]] == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_percentiles_of_a_masked_nan_are_those_of_the_others(dtype):
    values = np.array([0.25, np.nan, 0.75, np.nan])
    mask = (~np.isnan(values)).astype(dtype)

    def step(piece):
        metrics.add("p", values, weights=mask, finish=metrics.percentiles(0, 1, (50.0, 100.0), 10))

    found = measured(step, 4, (0, 4))
    assert [found["p/p50"], found["p/p100"]] == pytest.approx([0.25, 0.75], abs=0.1)


def test_labels_and_weights_may_be_bools():
    labels, mask = LABELS > 0, LABELS < 4

    def step(piece):
        metrics.add("auc", metrics.score_histogram(labels[piece], SCORES[piece], 1000, mask[piece]), finish="auc")
        metrics.add("f1", metrics.confusion_matrix(labels[piece], GUESSES[piece] > 0, 2, mask[piece]), finish="f1")

    found = measured(step)
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(labels[mask], GUESSES[mask] > 0))
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels[mask], SCORES[mask]), abs=5e-3)
