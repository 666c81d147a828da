"""`Input.map_fn`: a graph for one example, applied to many."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.rows.mapped import Mapped, takes_seed
from tallyloop.metrics.errors import UsageError

EXAMPLES = {"x": np.arange(3, dtype=np.float32)}


def graph_noise(example, seed):
    return {"x": example["x"] + tf.random.stateless_normal([], seed)}


class TestMapped:
    def test_without_a_seed(self):
        mapped = Mapped(lambda example: {"double": 2 * example["x"]}, {"x": tf.TensorSpec([], tf.float32)}, 0)
        assert mapped.element_spec == {"double": tf.TensorSpec([], tf.float32)}
        assert mapped(EXAMPLES, 0, np.arange(3))["double"].tolist() == [0, 2, 4]

    def test_a_tuple_is_several_arguments(self):
        mapped = Mapped(lambda x, y: x + y, (tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)), 0)
        assert mapped((np.array([1, 2]), np.array([10, 20])), 0, np.arange(2)).tolist() == [11, 22]

    def test_refuses_nothing(self):
        with pytest.raises(UsageError, match="expected the mapped example, got nothing"):
            Mapped(lambda example: None, {"x": tf.TensorSpec([], tf.float32)}, 0)


class TestTakesSeed:
    def test_by_the_name_of_the_second_parameter(self):
        assert takes_seed(graph_noise)
        assert not takes_seed(lambda image, label: image)
        assert not takes_seed(None)
        assert not takes_seed(min)
