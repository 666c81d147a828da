"""scikit-learn is the referee of the AUC, NumPy that of percentiles."""

import warnings

import gin
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import UsageError
from tallyloop.metrics.finishers.histograms import auc

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

        with warnings.catch_warnings():
            warnings.simplefilter("error")  # not by dividing 0 by 0
            assert np.isnan(measured(step)["auc"])

    def test_has_a_thousand_bins(self):
        assert metrics.score_histogram([1], [0.5]).value.shape == [2, 1000]

    @pytest.mark.parametrize("dtype", [tf.bool, tf.int32, tf.float32])
    def test_counts_are_exact_whatever_the_labels_are(self, dtype):
        tally = metrics.score_histogram(tf.cast([1, 0, 1], dtype), [0.1, 0.6, 0.9], 2)
        assert tally.value.numpy().tolist() == [[0, 1], [1, 1]]
        assert (tally.count.dtype, int(tally.count)) == (tf.int64, 3)

    def test_float_weights_are_summed_exactly(self):
        tally = metrics.score_histogram(tf.ones([2**20]), tf.ones([2**20]), 2, tf.fill([2**20], 0.1))
        assert tally.value.numpy()[1, 1] == pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-12)

    @pytest.mark.parametrize("bad", ["label", "score", "weight"])
    def test_a_nan_that_counts_makes_it_nan(self, bad):
        labels, scores, weights = np.array([0.0, 1, 1]), np.array([0.1, 0.6, 0.9]), np.ones(3)
        {"label": labels, "score": scores, "weight": weights}[bad][1] = np.nan
        assert np.isnan(auc(metrics.score_histogram(labels, scores, 2, weights).value.numpy()))
        if bad != "weight":
            weights[1] = 0
            assert auc(metrics.score_histogram(labels, scores, 2, weights).value.numpy()) == 1.0

    def test_scores_out_of_range_count_in_the_outermost_bins(self):
        tally = metrics.score_histogram([0, 1, 1], [-0.5, 1.0, 3.0], bins=4)
        assert tally.value.numpy().tolist() == [[1, 0, 0, 0], [0, 0, 0, 2]]
        assert int(tally.count) == 3


class TestPercentiles:
    def test_are_interpolated_inside_a_bin(self):
        """Bins of 2 from 10: 4 values in the first, none in the second, 1 in the third. 50% of 5 are 2.5 of the 4."""
        finish = metrics.percentiles(10.0, 16.0, (0, 50, 80, 90, 100), 3).finish
        found = finish(np.array([4.0, 0.0, 1.0]), np.array(5.0))
        assert found == pytest.approx({"p0": 10, "p50": 10 + 2 * 2.5 / 4, "p80": 12, "p90": 15, "p100": 16})

    def test_start_at_the_smallest_value(self):
        found = metrics.percentiles(0.0, 4.0, (0.0,), 4).finish(np.array([0.0, 0.0, 3.0, 0.0]), np.array(3.0))
        assert found == {"p0": 2.0}

    def test_end_at_the_largest_value_whatever_is_rounded(self):
        """NumPy's pairwise sum of these weights is 1, their cumulative sum ends at 0.9999999999999999."""
        weights = np.full(10, 0.1)
        assert weights.sum() > np.cumsum(weights)[-1]
        assert metrics.percentiles(0.0, 10.0, (100.0,), 10).finish(weights, np.array(1.0)) == {"p100": 10.0}
        assert metrics.percentiles(0.0, 1e3, (100.0,), 1000).finish(np.full(1000, 0.1), np.array(100.0)) == {
            "p100": 1e3
        }
        with_empty_bin = np.append(weights, 0.0)
        assert metrics.percentiles(0.0, 11.0, (100.0,), 11).finish(with_empty_bin, np.array(1.0)) == {"p100": 10.0}

    def test_of_one_bin(self):
        found = metrics.percentiles(0.0, 8.0, (25.0,), 1).finish(np.array([3.0]), np.array(3.0))
        assert found == {"p25": 2.0}

    def test_defaults(self):
        tally = metrics.percentiles(0.0, 1.0).tally(tf.constant([0.5]), None)
        assert tally.value.shape == [1000]
        assert list(metrics.percentiles(0.0, 1.0).finish(np.ones(1000), np.array(1000.0))) == ["p50", "p90", "p99"]

    @pytest.mark.parametrize("dtype", [tf.int32, tf.float32])
    def test_counts_are_exact_whatever_the_values_are(self, dtype):
        tally = metrics.percentiles(0, 4, (50,), 4).tally(tf.cast([-5, 0, 1, 3, 3, 9], dtype), None)
        assert tally.value.numpy().tolist() == [2, 1, 0, 3]
        assert (tally.count.dtype, int(tally.count)) == (tf.int64, 6)

    def test_float_weights_are_summed_exactly(self):
        """Each bin is one sum; 0.1 a million times is 1% off in float32."""
        values, weights = tf.concat([tf.zeros([2**20]), tf.ones([2**20])], 0), tf.fill([2**21], 0.1)
        tally = metrics.percentiles(0, 2, (50,), 2).tally(values, weights)
        assert tally.value.numpy() == pytest.approx(2**20 * float(np.float32(0.1)), rel=1e-12)
        assert float(tally.count) == pytest.approx(2**21 * float(np.float32(0.1)), rel=1e-12)

    def test_a_nan_that_counts_makes_them_nan(self):
        finish = metrics.percentiles(0, 4, (10, 90), 4)
        value, count = finish.tally(tf.constant([1.0, np.nan, 2.0]), None)
        assert float(count) == 3.0
        assert {name: str(each) for name, each in finish.finish(value.numpy(), count.numpy()).items()} == {
            "p10": "nan",
            "p90": "nan",
        }

    def test_an_infinite_value_is_at_the_end(self):
        tally = metrics.percentiles(0, 4, (50,), 4).tally(tf.constant([-np.inf, np.inf, np.inf]), None)
        assert tally.value.numpy().tolist() == [1, 0, 0, 2]

    def test_has_a_name_in_gin(self):
        assert gin.get_configurable("tallyloop.percentiles")(low=0.0, high=1.0) == metrics.percentiles(0.0, 1.0)

    def test_with_equal_arguments_are_equal(self):
        one = metrics.percentiles(0.0, 1.0, [50.0], 10)
        assert one == metrics.percentiles(0.0, 1.0, (50.0,), 10)
        others = [(0.1, 1.0, (50.0,), 10), (0.0, 1.1, (50.0,), 10), (0.0, 1.0, (51.0,), 10), (0.0, 1.0, (50.0,), 11)]
        assert all(one != metrics.percentiles(*arguments) for arguments in others)
        assert one.name == "percentiles"

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

    def test_admits_the_ends_of_the_ranges(self):
        assert metrics.percentiles(0.0, 1.0, (0, 100), 1).name == "percentiles"

    @pytest.mark.parametrize(
        "arguments", [(1.0, 1.0), (2.0, 1.0), (0.0, 1.0, (50, 101)), (0.0, 1.0, (-1,)), (0.0, 1.0, (50,), 0)]
    )
    def test_refuses_arguments_out_of_range(self, arguments):
        with pytest.raises(
            UsageError, match=r"percentiles\(low=.*\): expected low < high, 0 <= q <= 100 and bins >= 1"
        ):
            metrics.percentiles(*arguments)
