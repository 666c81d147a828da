"""Reading a source, and keeping it in memory."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input

NUMBERS = tf.data.Dataset.range(5)


class TestReading:
    def test_happens_once_and_when_needed(self, numbered):
        calls = []

        def source():
            calls.append(1)
            return numbered(3)

        data = Input(source, 2)
        assert calls == []
        data.open_train()
        data.open_eval()
        assert calls == [1]

    def test_takes_strings_and_lists(self, read):
        feed = Input({"word": ["a", "bc", "d"], "flag": np.array([True, False, True])}, 2).open_eval()
        assert read(feed, 1, 1)[0]["word"].tolist() == [b"d"]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                lambda: 3.5,
                "the source of Input: expected a dict or tuple of equal-length arrays, an object with __len__ and __getitem__, "
                "or an unbatched tf.data.Dataset, got a float; change Input.source",
            ),
            ({}, "the source of Input has no arrays"),
            ({"x": [1, 2], "y": [1, 2, 3]}, "the source of Input has arrays of different lengths {'x': 2, 'y': 3}"),
            ({"t": np.zeros(2, "datetime64[s]")}, "'t' has dtype datetime64[s], which TensorFlow does not support"),
            (NUMBERS.map(lambda i: tf.RaggedTensor.from_tensor([[i]])), "the source of Input gives RaggedTensorSpec"),
        ],
    )
    def test_refuses_what_it_cannot_batch(self, refused, source, message):
        with refused(message):
            Input(source, 2).open_train()

    def test_accepts_an_unknown_size(self):
        ragged = NUMBERS.map(lambda i: tf.zeros([i, 3]))
        assert Input(ragged, 1).open_eval().element_spec == tf.TensorSpec([None, None, 3])


class TestCache:
    @pytest.mark.parametrize("kind", ["arrays", "stream"])
    def test_gives_random_access_to_everything(self, read, numbered, stream_of, kind):
        calls = []

        def doubled(example):
            tf.py_function(lambda: calls.append(1), [], [])
            return {"x": example["x"] * 2, "y": example["y"]}

        data = numbered(103) if kind == "arrays" else stream_of(numbered(103))
        cached = Input(data, 16, shuffle=True, cache=True, map_fn=doubled)
        feed, plain = cached.open_train(), Input(numbered(103), 16, shuffle=True).open_train()
        for got, expected in zip(read(feed, 10**6, 8), read(plain, 10**6, 8), strict=True):
            np.testing.assert_array_equal(got["x"], 2 * expected["x"])
        assert (feed.num_examples, feed.batches_per_epoch) == (103, 7)
        assert feed.checkpoint_items() == {}
        cached.open_eval()
        assert len(calls) == 103

    def test_takes_tuples_and_nests(self, read):
        pairs = tf.data.Dataset.range(5).map(lambda i: (i, {"z": tf.cast(i, tf.float32)}))
        first, nest = read(Input(pairs, 3, shuffle=False, cache=True).open_train(), 1, 2)[-1]
        assert first.tolist() == [0, 1, 2]
        assert nest["z"].dtype == np.float32

    def test_skips_bad_examples_once(self, numbered, stream_of, warnings, refused, raising):
        for data in (numbered(23), stream_of(numbered(23))):
            cached = Input(data, 6, cache=True, drop_remainder=True, map_fn=raising, on_error="skip")
            assert cached.open_train().num_examples == 18
            assert "skipped 5 bad examples; 18 are kept in memory" in warnings.pop()
            with refused("example 0 (counted from 0): ") as caught:
                Input(data, 6, cache=True, map_fn=raising).open_train()
            assert "a bad one" in str(caught.value)
            assert 'Input.on_error = "skip"' in str(caught.value)

    def test_refuses_an_endless_source(self, refused):
        with refused("Input.cache = True keeps the whole source in memory, but the source never ends"):
            Input(NUMBERS.repeat(), 2, cache=True).open_train()

    def test_refuses_examples_of_different_shapes(self, refused):
        with refused("Input.cache = True: the examples do not stack"):
            Input(NUMBERS.map(lambda i: tf.zeros([i])), 2, cache=True).open_train()

    def test_refuses_an_empty_source(self, refused):
        with refused("the source of Input has no examples"):
            Input(NUMBERS.filter(lambda i: i > 9), 2, cache=True).open_train()
