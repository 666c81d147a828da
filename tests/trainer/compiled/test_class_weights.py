"""`class_weight` as `fit` takes it."""

import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.class_weights import check_class_weight, weights_of_classes

WEIGHTS = {0: 0.5, 2: 3.0}


class TestWeights:
    @pytest.mark.parametrize(
        "y",
        [
            [0, 1, 2],
            [[0], [1], [2]],
            [0.0, 1.0, 2.0],
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0.8, 0.1, 0.1], [0, 1, 0], [0, 0, 1]],
        ],
        ids=["numbers", "column", "float", "one-hot", "soft"],
    )
    def test_by_class_and_1_for_others(self, y):
        assert weights_of_classes(tf.constant(y), None, WEIGHTS).numpy().tolist() == [0.5, 1.0, 3.0]

    def test_a_weight_of_0(self):
        assert weights_of_classes(tf.constant([1, 0]), None, {1: 0.0}).numpy().tolist() == [0.0, 1.0]


class TestRefused:
    @pytest.mark.parametrize(
        "given", [[1.0, 2.0], {}, {"cat": 1.0}, {0: -1.0}, {0: [1.0]}, {0: float("nan")}, {0: "heavy"}], ids=repr
    )
    def test_no_weights_of_classes(self, given):
        with pytest.raises(UsageError, match=r"class_weight(\[.*\])? = .*expected"):
            check_class_weight(given)

    def test_class_weights_of_fit_are_taken(self):
        assert check_class_weight(None) is None
        assert check_class_weight(WEIGHTS) == WEIGHTS

    def test_with_sample_weights(self):
        with pytest.raises(UsageError, match="got one with sample_weight"):
            weights_of_classes(tf.zeros([2]), tf.ones([2]), WEIGHTS)

    @pytest.mark.parametrize(
        "y", [(tf.zeros([2]), tf.zeros([2])), None, tf.zeros([2, 3, 4])], ids=["outputs", "none", "rank"]
    )
    def test_of_what_has_no_class(self, y):
        with pytest.raises(UsageError, match="expected labels of one output"):
            weights_of_classes(y, None, WEIGHTS)
