"""What a writer is given."""

import math

import numpy as np
import pytest
from tallyloop.metrics.writers import Summary
from tallyloop.metrics.writers.summary import dump, is_scalar, load, scalars


class TestScalars:
    def test_are_python_floats_without_the_arrays(self):
        metrics = {
            "loss": 0.5,
            "numpy": np.float32(0.25),
            "zero": np.array(2),
            "vector": np.ones(1),
            "matrix": np.eye(2),
        }
        found = scalars(Summary(1, "train", metrics, {}))
        assert found == {"loss": 0.5, "numpy": 0.25, "zero": 2.0}
        assert {type(value) for value in found.values()} == {float}

    def test_times_are_apart(self):
        """They are not metrics of the task."""
        assert scalars(Summary(1, "train", {"loss": 0.5}, {}, times={"time/step_ms": 3.0})) == {"loss": 0.5}

    def test_summary_has_no_times_by_default(self):
        one, other = Summary(1, "train", {}, {}), Summary(1, "train", {}, {})
        assert one.times == {}
        assert one.times is not other.times


class TestIsScalar:
    @pytest.mark.parametrize("value", [0.5, float("nan"), 1, True, np.float64(2), np.int64(3), np.array(1.5)])
    def test_single_number(self, value):
        assert is_scalar(value)

    @pytest.mark.parametrize("value", [np.ones(1), np.ones((1, 1)), np.ones(0)])
    def test_array(self, value):
        assert not is_scalar(value)


class TestDump:
    def test_round_trip(self):
        matrix = np.array([[1.5, 2.0], [3.0, 1 / 3]])
        metrics = {"a": 0.1, "b": math.inf, "c": np.float64(2.5), "matrix": matrix, "counts": np.array([1, 2])}
        summary = Summary(3, "eval/x", metrics, {"a": 2.0}, {"time/eval_s": 1 / 3})
        (found,) = load(dump([summary]))
        assert (found.step, found.split, found.counts, found.times) == (3, "eval/x", summary.counts, summary.times)
        np.testing.assert_equal(found.metrics, metrics)
