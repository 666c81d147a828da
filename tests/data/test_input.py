"""`Input`: its arguments, and what it tells about the data."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input

ARRAYS = {"x": np.zeros((3, 2), np.float32), "y": np.arange(3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_batch_size": 0}, "Input.global_batch_size = 0: expected a whole number of at least 1"),
        ({"global_batch_size": True}, "Input.global_batch_size = True: expected a whole number"),
        ({"global_batch_size": 2.0}, "Input.global_batch_size = 2.0: expected a whole number"),
        ({"shuffle": "False"}, "Input.shuffle = 'False': expected True or False"),
        ({"cache": 1}, "Input.cache = 1: expected True or False"),
        ({"drop_remainder": None}, "Input.drop_remainder = None: expected True or False"),
        ({"seed": -1}, "Input.seed = -1: expected a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "Input.seed = 4294967296: expected a whole number from 0 to 4294967295"),
        ({"shuffle_buffer": 0}, "Input.shuffle_buffer = 0: expected a whole number of at least 1"),
        ({"map_fn": {"x": 1}}, "Input.map_fn = {'x': 1}: expected a function; bind it without calling it"),
        (
            {"source": "digits"},
            "Input.source = 'digits': expected a function, a dict or tuple of arrays, an object with __len__",
        ),
        ({"on_error": "ignore"}, "Input.on_error = 'ignore': expected 'raise' or 'skip'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(refused, arguments, message):
    with refused(message):
        Input(**{"source": ARRAYS, "global_batch_size": 2} | arguments)


def test_the_batch_size_is_that_bound_or_that_of_keras():
    assert Input(ARRAYS, 2).global_batch_size == 2
    assert Input(ARRAYS).global_batch_size == 32


class TestElementSpec:
    def halved(self, example):
        return {"x": example["x"][:1], "n": tf.cast(example["y"], tf.int32)}

    def test_is_that_of_a_feed(self, numbered):
        data = Input(numbered(5), 2)
        assert data.element_spec == data.open_train().element_spec

    def test_is_that_of_mapped_examples(self, numbered):
        data = Input(numbered(5), 2, map_fn=self.halved, drop_remainder=True)
        assert data.element_spec == data.open_train().element_spec
        assert data.element_spec == {"x": tf.TensorSpec([2, 1]), "n": tf.TensorSpec([2], tf.int32)}

    def test_of_an_endless_stream_of_tuples(self):
        endless = Input(tf.data.Dataset.range(3).map(lambda i: (i, i)).repeat(), 2)
        assert endless.element_spec == (tf.TensorSpec([None], tf.int64),) * 2

    @pytest.mark.parametrize("source", [ARRAYS, tf.data.Dataset.range(5)], ids=["arrays", "stream"])
    def test_names_a_map_fn_that_returns_nothing(self, refused, source):
        def forget(example):
            tf.nest.flatten(example)

        with refused("Input.map_fn: expected the mapped example, got nothing"):
            _ = Input(source, 2, map_fn=forget).element_spec

    def test_names_a_map_fn_that_loses_the_rank(self, refused):
        def lose(i):
            return tf.numpy_function(lambda value: value, [i], tf.int64)

        with refused("Input.map_fn gives a tensor of unknown rank"):
            _ = Input(tf.data.Dataset.range(5), 2, map_fn=lose).element_spec


class TestArrays:
    def test_are_those_of_the_source(self, numbered):
        np.testing.assert_array_equal(Input(numbered(5), 2).arrays["y"], np.arange(5))

    def test_are_mapped_in_a_cache(self, numbered):
        cached = Input(numbered(5), 2, map_fn=lambda example: {"n": tf.cast(example["y"], tf.int32)}, cache=True)
        assert cached.arrays["n"].dtype == np.int32

    def test_are_none_where_they_are_not_in_memory(self, numbered, stream_of):
        assert Input((np.arange(5), np.arange(5.0)), 2).arrays[1].tolist() == [0, 1, 2, 3, 4]
        assert Input(numbered(5), 2, map_fn=lambda example: example).arrays is None
        assert Input(stream_of(numbered(5)), 2).arrays is None
        assert Input(tf.data.Dataset.range(3), 2, cache=True).arrays is None


class TestSignatures:
    """A function of other parameters is refused before a row is read, with those that are expected."""

    def test_of_a_transform(self, refused):
        with refused("expected a function of (example, rng), got one of (example)"):
            Input(ARRAYS, 4, transform=lambda example: example).open_train()

    @pytest.mark.parametrize("stream", [False, True])
    def test_of_a_map_fn(self, refused, stream):
        pair = (np.zeros(5), np.arange(5))
        for arrays, map_fn, message in (
            (
                ARRAYS,
                lambda x, y: x,
                "a function of one parameter, as an example is a dict, got one of (x, y)",
            ),
            (
                pair,
                lambda example: example,
                "a function of 2 parameters, as an example is a tuple of 2, got one of",
            ),
        ):
            source = tf.data.Dataset.from_tensor_slices(arrays) if stream else arrays
            with refused(message):
                Input(source, 4, map_fn=map_fn).open_train()

    def test_a_parameter_that_gin_binds_is_none_of_the_example(self):
        def padded(example, size):
            return tf.pad(example["x"], [[0, size]])

        bound = functools.wraps(padded)(lambda example: padded(example, 3))  # as gin wraps what it registers
        assert Input(ARRAYS, 3, map_fn=bound).open_train().element_spec.shape == (3, 5)

    def test_of_an_operation(self):
        assert Input(np.arange(5.0)[np.newaxis].T.tolist(), 4, map_fn=tf.abs).open_train()
