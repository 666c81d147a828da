"""Random transforms: keyed by the seed, the epoch and the row, and by nothing else."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.rows.mapped import Mapped
from tallyloop.data.rows.transforms import transformed
from tallyloop.metrics.errors import DataError

EXAMPLES = {"x": np.arange(3, dtype=np.float32)}


def noise(example, rng):
    return {"x": example["x"] + rng.normal()}


def graph_noise(example, seed):
    return {"x": example["x"] + tf.random.stateless_normal([], seed)}


def drawn(how, epoch, rows, seed=0):
    rows = np.array(rows)
    examples = {"x": np.zeros(len(rows), np.float32)}
    if how == "transform":
        return transformed(examples, noise, seed, epoch, rows)["x"].tolist()
    return Mapped(graph_noise, {"x": tf.TensorSpec([], tf.float32)}, seed)(examples, epoch, rows)["x"].tolist()


@pytest.mark.parametrize("how", ["transform", "map_fn"])
class TestRandomness:
    def test_belongs_to_the_row(self, how):
        together = drawn(how, 0, [4, 8, 2])
        assert len(set(together)) == 3
        assert drawn(how, 0, [2]) + drawn(how, 0, [8, 4]) == [together[2], together[1], together[0]]

    def test_differs_between_epochs_and_seeds(self, how):
        numbers = [drawn(how, epoch, [5], seed)[0] for epoch in (0, 1, 2) for seed in (0, 1, 2)]
        assert len(set(numbers)) == 9


class TestTransformed:
    def test_names_the_row(self):
        def broken(example, rng):
            return 1 / (example["x"] - 2)

        with (
            np.errstate(divide="raise"),
            pytest.raises(DataError, match=r"Input.transform, row 30: .*divide.* \(at .*.py:\d+, in broken\)\. Fix"),
        ):
            transformed(EXAMPLES, broken, 0, 0, np.array([10, 20, 30]))
