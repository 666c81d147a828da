"""What a writer is given."""

import numpy as np
import pytest
from tallyloop.metrics.writers import Summary
from tallyloop.metrics.writers.summary import is_scalar, scalars


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
