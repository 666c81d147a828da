"""scikit-learn is the referee of the AUC, NumPy that of percentiles."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import UsageError

sklearn_metrics = pytest.importorskip("sklearn.metrics")


class TestAuc:
    @pytest.mark.parametrize("bins", [10, 100, 1000])
    @pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
    def test_is_off_by_at_most_half_of_the_pairs_that_share_a_bin(self, measured, data, bins, weighted):
        labels, weights = (data.labels > 0).astype(np.int64), data.weights if weighted else None

        def step(piece):
            weight = None if weights is None else weights[piece]
            histogram = metrics.score_histogram(labels[piece], data.scores[piece], bins, weight)
            metrics.add("auc", histogram, finish="auc")

        each = np.ones(len(labels)) if weights is None else weights
        cell = np.minimum(data.scores * bins, bins - 1).astype(int)
        positives, negatives = (np.bincount(cell, each * kept, bins) for kept in (labels, 1 - labels))
        tolerance = (positives * negatives).sum() / (positives.sum() * negatives.sum()) / 2
        expected = sklearn_metrics.roc_auc_score(labels, data.scores, sample_weight=weights)
        assert measured(step)["auc"] == pytest.approx(expected, abs=tolerance + 1e-12)
        assert tolerance < 0.5 / bins * 5  # the tolerance itself says something

    def test_with_a_bin_per_score_is_exact(self, measured, data):
        scores = np.minimum(np.floor(data.scores * 50), 49) / 50 + 0.01

        def step(piece):
            metrics.add("auc", metrics.score_histogram(data.labels[piece], scores[piece], 50), finish="auc")

        expected = sklearn_metrics.roc_auc_score(data.labels > 0, scores)
        assert measured(step)["auc"] == pytest.approx(expected, rel=1e-12)

    def test_masked_bools(self, measured, data):
        labels, mask = data.labels > 0, data.labels < 4

        def step(piece):
            histogram = metrics.score_histogram(labels[piece], data.scores[piece], 1000, mask[piece])
            metrics.add("auc", histogram, finish="auc")

        expected = sklearn_metrics.roc_auc_score(labels[mask], data.scores[mask])
        assert measured(step)["auc"] == pytest.approx(expected, abs=5e-3)

    def test_of_one_class_is_nan(self, measured):
        def step(piece):
            metrics.add("auc", metrics.score_histogram([1, 1], [0.2, 0.8]), finish="auc")

        assert np.isnan(measured(step)["auc"])

    def test_scores_out_of_range_count_in_the_outermost_bins(self):
        tally = metrics.score_histogram([0, 1, 1], [-0.5, 1.0, 3.0], bins=4)
        assert tally.value.numpy().tolist() == [[1, 0, 0, 0], [0, 0, 0, 2]]
        assert int(tally.count) == 3


class TestPercentiles:
    @pytest.mark.parametrize("name", ["normal", "uniform", "exponential"])
    def test_are_off_by_at_most_one_bin(self, measured, name):
        values = getattr(np.random.default_rng(5), name)(size=50_000)
        low, high, bins = float(values.min()), float(np.nextafter(values.max(), np.inf)), 200
        q = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0)

        def step(piece):
            metrics.add("p", tf.constant(values[piece]), finish=metrics.percentiles(low, high, q, bins))

        found = measured(step, len(values), (0, 20_000, 20_000, 20_001, len(values)))
        expected = np.percentile(values, q)
        assert [found[f"p/p{each:g}"] for each in q] == pytest.approx(expected, abs=(high - low) / bins)

    @pytest.mark.parametrize("count", [1, 10, 100])
    def test_of_few_values_far_apart_take_a_value(self, measured, count):
        """NumPy's default would interpolate over any number of empty bins; "inverted_cdf" takes a value."""
        values = np.linspace(0.2, 0.8, count) if count > 1 else np.array([0.6])
        q = (0, 1, 7, 10, 29, 50, 57, 90, 99, 100)

        def step(piece):
            metrics.add("p", tf.constant(values[piece]), finish=metrics.percentiles(0.0, 1.0, q, 1000))

        found = measured(step, count, (0, count // 2, count))
        expected = np.percentile(values, q, method="inverted_cdf")
        assert [found[f"p/p{each}"] for each in q] == pytest.approx(expected, abs=1e-3 + 1e-9)

    def test_a_value_of_weight_3_counts_as_three(self, measured):
        values, weights = np.array([0.15, 0.35, 0.55, 0.75]), np.array([1, 3, 0, 2])

        def step(piece):
            metrics.add("p", tf.constant(values), weights=weights, finish=metrics.percentiles(0, 1, (50.0, 90.0), 100))

        found = measured(step, 4, (0, 4))
        expected = np.percentile(np.repeat(values, weights), [50, 90], method="inverted_cdf")
        assert [found["p/p50"], found["p/p90"]] == pytest.approx(expected, abs=0.01)

    @pytest.mark.parametrize("dtype", [bool, np.float32])
    def test_a_masked_nan_does_not_count(self, measured, dtype):
        values = np.array([0.25, np.nan, 0.75, np.nan])
        mask = (~np.isnan(values)).astype(dtype)

        def step(piece):
            metrics.add("p", values, weights=mask, finish=metrics.percentiles(0, 1, (50.0, 100.0), 10))

        found = measured(step, 4, (0, 4))
        assert [found["p/p50"], found["p/p100"]] == pytest.approx([0.25, 0.75], abs=0.1)

    @pytest.mark.parametrize(
        "arguments", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0, (50, 101)), (0.0, 1.0, (-1,)), (0.0, 1.0, (50,), 0)]
    )
    def test_refuses_arguments_out_of_range(self, arguments):
        with pytest.raises(
            UsageError, match=r"percentiles\(low=.*\): expected low < high, 0 <= q <= 100 and bins >= 1"
        ):
            metrics.percentiles(*arguments)
