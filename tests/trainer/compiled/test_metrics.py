"""The metrics of a compiled model, computed from flattened labels, outputs and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import MetricRegistry
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.arguments import OutputMetric
from tallyloop.trainer.compiled.metrics import Flat, metric_functions, path_of

FLAT = Flat(
    [tf.constant([0.0, 1.0]), tf.constant([1.0, 4.0])],
    [tf.zeros([2]), tf.constant([2.0, 2.0])],
    [tf.constant([1.0, 3.0])],
)


def values(*entries):
    registry = MetricRegistry(metric_functions(entries))
    return registry.result({path: tuple(map(np.asarray, t)) for path, t in registry.compute(None, FLAT).items()})


class TestMetricFunctions:
    def test_of_the_second_output(self):
        assert values(OutputMetric(keras.metrics.MeanSquaredError(), "b_mse", 1, 1, None)) == {"b_mse": 2.5}

    def test_weighted(self):
        # squares 1 and 4, weights 1 and 3
        assert values(OutputMetric(keras.metrics.MeanSquaredError(), "mse", 1, 1, 0)) == {"mse": 13 / 4}


class TestPaths:
    @pytest.mark.parametrize(("name", "path"), [("val acc", "val_acc"), ("<lambda>", "_lambda_"), ("f1", "f1")])
    def test_of_names(self, name, path):
        assert path_of(name) == path

    def test_nothing_left(self):
        with pytest.raises(UsageError, match="expected a name of letters"):
            path_of("准")
