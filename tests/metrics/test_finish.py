import logging

import numpy as np
import pytest
import tensorflow as tf
from absl import logging as absl_logging
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally

X = np.array([[1.0, -2.0, 4.0], [0.5, 8.0, -1.0], [3.0, 3.0, 2.0], [9.0, 0.0, 1.0]])
MASK = np.array([1.0, 0.0, 1.0, 2.0])


def finished(values, weights=None, finish=None):
    """What is written of `values`, added in two pieces of unequal size."""
    registry, total = MetricRegistry(), None
    for piece in (slice(0, 1), slice(1, None)):
        with registry.recording():
            share = None if weights is None else tf.constant(weights[piece], tf.float32)
            metrics.add("m", tf.constant(values[piece], tf.float32), weights=share, finish=finish)
            total = registry.merge(total, registry.compute(None, None))
    return registry.result(total)


def test_mean_is_the_default():
    assert finished(X) == finished(X, finish="mean") == {"m": pytest.approx(X.mean(), rel=1e-7)}
    assert finished(X, MASK) == {"m": pytest.approx(np.average(X.mean(1), weights=MASK), rel=1e-7)}


def test_sum():
    assert finished(X, finish="sum") == {"m": pytest.approx(28.5)}
    assert finished(X, MASK, finish="sum") == {"m": pytest.approx((MASK[:, None] * X).sum())}


def test_exp_and_sqrt_are_of_the_mean():
    assert finished(X, finish="exp") == {"m": pytest.approx(np.exp(28.5 / 12), rel=1e-7)}
    assert finished(X**2, finish="sqrt") == {"m": pytest.approx(np.sqrt(np.mean(X**2)), rel=1e-6)}


def test_std_is_of_the_population():
    assert finished(X, finish="std") == {"m": pytest.approx(np.std(X), rel=1e-7)}
    weights = np.repeat(MASK[:, None], 3, 1)
    mean = np.average(X, weights=weights)
    expected = np.sqrt(np.average((X - mean) ** 2, weights=weights))
    assert finished(X, MASK, finish="std") == {"m": pytest.approx(expected, rel=1e-7)}


def test_std_far_from_zero_does_not_cancel():
    values = np.array([10_000.0, 10_001.0, 10_002.0, 10_003.0], np.float32)
    assert finished(values, finish="std") == {"m": pytest.approx(np.sqrt(1.25), rel=1e-6)}
    assert finished(np.full(4, 4097.3, np.float32), finish="std") == {"m": pytest.approx(0.0, abs=1e-4)}


def test_std_is_not_reached_by_a_masked_nan():
    values = np.where(MASK[:, None] == 0, np.nan, X)
    assert finished(values, MASK, finish="std") == finished(X, MASK, finish="std")


def test_per_class_is_one_mean_an_index_of_the_last_axis():
    means = np.average(X, axis=0, weights=MASK)
    expected = {f"m/class_{i}": pytest.approx(means[i], rel=1e-7) for i in range(3)}
    assert finished(X, MASK, finish="per_class") == expected


def test_per_class_leaves_out_a_class_without_examples():
    weights = np.array([[1.0, 0.0, 2.0]] * 4)
    expected = {"m/class_0": pytest.approx(13.5 / 4), "m/class_2": pytest.approx(1.5)}
    assert finished(X, weights, finish="per_class") == expected


def test_a_users_function_of_value_and_count():
    assert finished(X, finish=lambda value, count: value**2 + count) == {"m": pytest.approx(28.5**2 + 12)}


def test_a_users_function_may_return_several_numbers():
    def both(value, count):
        return {"total": value, "by.count": count}

    assert finished(X, finish=both) == {"m/total": pytest.approx(28.5), "m/by/count": 12.0}


def test_numbers_are_python_floats_and_arrays_stay_arrays():
    registry = MetricRegistry()
    registry.register("matrix", lambda *_: (tf.eye(2), 1), finish="sum")
    found = registry.result(registry.compute(None, None) | {"plain": Tally(np.float32(3), np.int64(2))})
    assert type(found["plain"]) is float
    assert found["plain"] == 1.5
    np.testing.assert_array_equal(found["matrix"], np.eye(2))


@pytest.fixture
def warnings_logged():
    """What absl logs as warnings."""
    found = []

    class Keep(logging.Handler):
        def emit(self, record):
            found.append(record.getMessage())

    handler = Keep(logging.WARNING)
    absl_logging.get_absl_logger().addHandler(handler)
    yield found
    absl_logging.get_absl_logger().removeHandler(handler)


@pytest.mark.parametrize("finish", ["mean", "sum", "exp", "sqrt", "std", "per_class"])
def test_no_examples_give_no_point_and_are_said_once(finish, warnings_logged):
    registry = MetricRegistry()
    for _ in range(3):
        with registry.recording():
            metrics.add("empty", tf.ones([2, 3]), weights=tf.zeros([2]), finish=finish)
            metrics.add("full", 1.0)
            found = registry.result(registry.compute(None, None))
        assert found == {"full": 1.0}
    assert ["'empty'" in line for line in warnings_logged] == [True]


@pytest.mark.parametrize(("bad", "expected"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_non_finite_value_is_shown_as_it_is(bad, expected):
    assert {name: str(value) for name, value in finished(np.array([1.0, bad])).items()} == {"m": expected}
