"""scikit-learn is the referee of the scores."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry

sklearn_metrics = pytest.importorskip("sklearn.metrics")

CLASSES = 5
SCORES = {
    "f1": sklearn_metrics.f1_score,
    "precision": sklearn_metrics.precision_score,
    "recall": sklearn_metrics.recall_score,
}
FINISHES = [f"{score}{average}" for score in SCORES for average in ("", "_micro", "_macro", "_per_class")]


@pytest.fixture(scope="session")
def scored(measured):
    def run(labels, guesses, classes, weights=None):
        def step(piece):
            weight = None if weights is None else weights[piece]
            matrix = metrics.confusion_matrix(labels[piece], guesses[piece], classes, weight)
            metrics.add("matrix", matrix, finish="confusion_matrix")
            for finish in FINISHES:
                metrics.add(finish, matrix, finish=finish)

        return measured(step)

    return run


@pytest.fixture(scope="session")
def of_two(scored, data):
    return scored(data.labels > 0, data.guesses > 0, 2)


@pytest.fixture(scope="session", params=["plain", "weighted"])
def of_five(request, scored, data):
    """The finished scores of five classes, and the weights."""
    weights = None if request.param == "plain" else data.weights
    return scored(data.labels, data.guesses, CLASSES, weights), weights


class TestMatrix:
    def test_is_that_of_sklearn(self, of_five, data):
        found, weights = of_five
        expected = sklearn_metrics.confusion_matrix(
            data.labels, data.guesses, labels=range(CLASSES), sample_weight=weights
        )
        np.testing.assert_allclose(found["matrix"], expected, rtol=1e-12)
        if weights is None:
            np.testing.assert_array_equal(found["matrix"], expected)

    def test_classes_out_of_range_do_not_count(self):
        tally = metrics.confusion_matrix([0, -1, 1, 2, 1], [0, 0, 1, 0, 2], 2, weights=[1.0, 2.0, 4.0, 8.0, 16.0])
        assert tally.value.numpy().tolist() == [[1.0, 0.0], [0.0, 4.0]]
        assert float(tally.count) == 5.0

    def test_predictions_just_out_of_range_do_not_count(self):
        """The cell after the last of a row is the first of the next."""
        tally = metrics.confusion_matrix([0, 0, 1], [2, -1, 2], 2)
        assert tally.value.numpy().tolist() == [[0, 0], [0, 0]]
        assert int(tally.count) == 0

    def test_small_integers_do_not_wrap_around(self):
        tally = metrics.confusion_matrix(tf.constant([19], tf.uint8), tf.constant([18], tf.uint8), 20)
        assert int(tally.value[19, 18]) == int(tf.reduce_sum(tally.value)) == 1

    @pytest.mark.parametrize("dtype", [tf.bool, tf.int32, tf.float32])
    def test_counts_are_exact_whatever_the_labels_are(self, dtype):
        tally = metrics.confusion_matrix(tf.cast([1, 0], dtype), tf.cast([1, 1], dtype), 2)
        assert tally.value.numpy().tolist() == [[0, 1], [0, 1]]
        assert tally.count.dtype == tf.int64

    def test_float_weights_are_summed_exactly(self):
        """One after the other in float32, a million of 0.1 are 1% off."""
        count = 2**20
        tally = metrics.confusion_matrix(
            tf.ones([count], tf.int32), tf.ones([count], tf.int32), 2, tf.fill([count], 0.1)
        )
        assert tally.value.numpy()[1, 1] == pytest.approx(count * float(np.float32(0.1)), rel=1e-12)
        assert float(tally.count) == pytest.approx(count * float(np.float32(0.1)), rel=1e-12)

    @pytest.mark.parametrize("finish", ["f1", "precision_macro", "recall_micro"])
    @pytest.mark.parametrize("bad", ["label", "prediction", "weight"])
    def test_a_nan_that_counts_makes_the_scores_nan(self, finish, bad):
        labels, guesses, weights = np.zeros(3), np.zeros(3), np.ones(3)
        {"label": labels, "prediction": guesses, "weight": weights}[bad][1] = np.nan
        for count in (1.0, 0.0):
            if bad != "weight":
                weights[1] = count
            registry = MetricRegistry()
            with registry.recording():
                metrics.add("m", metrics.confusion_matrix(labels, guesses, 2, weights), finish=finish)
                found = registry.result(registry.compute(None, None))
            assert np.isnan(found["m"]) == (count == 1.0 or bad == "weight")

    def test_takes_weights_of_any_shape(self):
        tally = metrics.confusion_matrix([[0, 1]], [[0, 1]], 2, [[2, 3]])
        assert tally.value.numpy().tolist() == [[2, 0], [0, 3]]

    def test_takes_batches_of_sequences(self):
        tally = metrics.confusion_matrix(tf.constant([[0, 1], [1, 1]]), tf.constant([[0, 0], [1, 1]]), 2)
        assert tally.value.numpy().tolist() == [[1, 0], [1, 2]]
        assert int(tally.count) == 4


class TestScores:
    @pytest.mark.parametrize("score", SCORES)
    @pytest.mark.parametrize("average", ["micro", "macro"])
    def test_an_average_is_that_of_sklearn(self, of_five, data, score, average):
        found, weights = of_five
        expected = SCORES[score](data.labels, data.guesses, average=average, sample_weight=weights, zero_division=0)
        assert found[f"{score}_{average}"] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("score", SCORES)
    def test_each_class_has_the_score_of_sklearn(self, of_five, data, score):
        found, weights = of_five
        expected = SCORES[score](data.labels, data.guesses, average=None, sample_weight=weights, zero_division=0)
        assert [found[f"{score}_per_class/class_{i}"] for i in range(CLASSES)] == pytest.approx(
            list(expected), rel=1e-12
        )

    @pytest.mark.parametrize("score", SCORES)
    def test_of_two_classes_it_is_that_of_the_positive_one(self, of_two, data, score):
        expected = SCORES[score](data.labels > 0, data.guesses > 0)
        assert of_two[score] == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("score", SCORES)
    def test_of_more_classes_it_is_the_macro_average(self, of_five, score):
        assert of_five[0][score] == of_five[0][f"{score}_macro"]

    def test_masked_bools(self, measured, data):
        labels, mask = data.labels > 0, data.labels < 4

        def step(piece):
            matrix = metrics.confusion_matrix(labels[piece], data.guesses[piece] > 0, 2, mask[piece])
            metrics.add("f1", matrix, finish="f1")

        expected = sklearn_metrics.f1_score(labels[mask], data.guesses[mask] > 0)
        assert measured(step)["f1"] == pytest.approx(expected)

    def test_on_numbers_checked_by_hand(self):
        labels, guesses = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
        names = ("confusion_matrix", "f1_micro", "recall_macro", "precision_per_class")
        registry = MetricRegistry()
        with registry.recording():
            for name in names:
                metrics.add(name, metrics.confusion_matrix(labels, guesses, 3), finish=name)
            found = registry.result(registry.compute(None, None))
        np.testing.assert_array_equal(found.pop("confusion_matrix"), [[2, 1, 0], [0, 1, 1], [0, 0, 1]])
        assert found == pytest.approx(
            {
                "f1_micro": 4 / 6, "recall_macro": (2 / 3 + 1 / 2 + 1) / 3, "precision_per_class/class_0": 1,
                "precision_per_class/class_1": 1 / 2, "precision_per_class/class_2": 1 / 2,
            }
        )  # fmt: skip
