"""What a user can get wrong in an Input, and what is said."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError

ARRAYS = {"x": np.zeros((3, 2), np.float32), "y": np.arange(3)}
NUMBERS = tf.data.Dataset.range(5)


def ragged(i):
    return tf.RaggedTensor.from_tensor([[i]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"global_batch_size": 0}, "Input.global_batch_size = 0: want an integer of at least 1"),
        ({"global_batch_size": True}, "Input.global_batch_size = True: want an integer"),
        ({"global_batch_size": 2.0}, "Input.global_batch_size = 2.0: want an integer"),
        ({"shuffle": "False"}, "Input.shuffle = 'False': want True or False"),
        ({"cache": 1}, "Input.cache = 1: want True or False"),
        ({"drop_remainder": None}, "Input.drop_remainder = None: want True or False"),
        ({"seed": -1}, "Input.seed = -1: want an integer of at least 0"),
        ({"seed": 2**32}, "Input.seed = 4294967296: want an integer of at least 0 and below 4294967296"),
        ({"shuffle_buffer": 0}, "Input.shuffle_buffer = 0: want an integer of at least 1"),
        ({"map_fn": {"x": 1}}, "Input.map_fn = {'x': 1}: want a function; bind it without calling it"),
        ({"source": "digits"}, "Input.source = 'digits': want a function, a dict of arrays or a tf.data"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Input(**{"source": ARRAYS, "global_batch_size": 2} | arguments)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: [1, 2], "the source of Input gave a list: want a dict of equal-length arrays"),
        ({}, "the source of Input has no arrays"),
        ({"x": [1, 2], "y": [1, 2, 3]}, "arrays of different lengths {'x': 2, 'y': 3}"),
        ({"x": [], "y": []}, "no examples (lengths {'x': 0, 'y': 0})"),
        ({"x": np.array([{}, {}])}, "'x' has dtype object, which holds Python objects"),
        ({"s": np.array(["a", "b"], object)}, "'s' has dtype object, which holds Python objects"),
        ({"x": [[1], [1, 2]]}, "the value of 'x' makes no array"),
        ({"x": 3.0}, "'x' is a single value"),
        ({3: [1, 2]}, "the key 3 of type int: want strings"),
        ({"t": np.zeros(2, "datetime64[s]")}, "'t' has dtype datetime64[s], which TensorFlow does not know"),
        (NUMBERS.take(0), "the source of Input has no examples: want at least one"),
        (NUMBERS.filter(lambda i: i > 9), "the source of Input has no examples: want at least one"),
        (NUMBERS.map(ragged), "the source of Input gives RaggedTensorSpec in its elements: want dense"),
    ],
)
def test_wrong_sources_are_refused_when_opened(source, message):
    data = Input(source, 2)
    with pytest.raises(UsageError, match=re.escape(message)):
        data.open_train()


def test_unknown_rank_is_refused_and_an_unknown_size_is_not():
    def of_shape(shape):
        def generated():
            yield np.zeros([2, 3])

        return tf.data.Dataset.from_generator(generated, output_signature=tf.TensorSpec(shape))

    with pytest.raises(UsageError, match="the source of Input gives a tensor of unknown rank"):
        Input(of_shape(None), 1).open_eval()
    assert Input(of_shape([None, 3]), 1).open_eval().element_spec == tf.TensorSpec([None, None, 3])


@pytest.mark.parametrize("source", [NUMBERS, ARRAYS], ids=["stream", "arrays"])
def test_a_map_fn_that_returns_nothing_is_named(source):
    def forget(example):
        tf.nest.flatten(example)

    with pytest.raises(UsageError, match=r"Input\.map_fn returned no tensors: want the mapped example"):
        Input(source, 2, map_fn=forget).open_eval()


def test_a_map_fn_that_spoils_the_rank_is_named():
    def spoil(i):
        return tf.numpy_function(lambda value: value, [i], tf.int64)

    with pytest.raises(UsageError, match=r"Input\.map_fn gives a tensor of unknown rank"):
        Input(NUMBERS, 2, map_fn=spoil).open_train()


@pytest.mark.parametrize(
    "source",
    [{"y": np.arange(5)}, NUMBERS, NUMBERS.filter(lambda i: i >= 0)],
    ids=["arrays", "known", "unknown"],
)
def test_drop_remainder_wants_one_full_batch(source):
    message = "the source of Input has 5 examples: want at least 6 for one full batch"
    with pytest.raises(UsageError, match=message):
        Input(source, 6, drop_remainder=True).open_train()
    Input(source, 5, drop_remainder=True).open_train()


def test_an_endless_source_trains_but_neither_evaluates_nor_is_cached():
    endless = NUMBERS.repeat()
    Input(endless, 2).open_train()
    with pytest.raises(UsageError, match=r"an evaluation sees each example once, but the source never ends"):
        Input(endless, 2).open_eval()
    with pytest.raises(UsageError, match=r"Input\.cache = True keeps .* but the source never ends"):
        Input(endless, 2, cache=True).open_train()


def test_cache_of_examples_that_do_not_stack_or_are_none():
    growing = NUMBERS.map(lambda i: tf.zeros([i]))
    with pytest.raises(UsageError, match=r"Input\.cache = True: the examples do not stack"):
        Input(growing, 2, cache=True).open_train()
    with pytest.raises(UsageError, match="the source of Input has no examples"):
        Input(NUMBERS.filter(lambda i: i > 9), 2, cache=True).open_train()
