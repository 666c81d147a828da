"""Reading a source, and keeping it in memory."""

import time

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


class Slow:
    def __iter__(self):
        for _ in range(10):
            time.sleep(0.1)
            yield np.zeros(10, np.float32)


def generated(rows):
    return tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec([None], tf.float32))


def seeded(example, seed):
    return example


class Numbered:
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return {"x": np.float32(i)}


ARRAYS = {"x": np.zeros((10, 10), np.float32)}  # 400 bytes


def same(example):
    return example


def twice(example):
    return {"x": tf.concat([example["x"]] * 2, 0)}


class TestCanCache:
    """Of 400 bytes at most."""

    @pytest.mark.parametrize(
        ("source", "arguments", "expected"),
        [
            (tf.data.Dataset.from_tensor_slices(ARRAYS), {}, True),
            (tf.data.Dataset.from_tensor_slices(ARRAYS), {"map_fn": twice}, False),
            (tf.data.Dataset.from_tensor_slices(ARRAYS).repeat(), {}, False),
            (lambda: generated(lambda: iter(np.zeros((10, 10), np.float32))), {}, True),
            (lambda: generated(lambda: iter(np.zeros((11, 10), np.float32))), {}, False),
            (tf.data.Dataset.from_tensor_slices(["x" * 16] * 10), {}, True),  # and 24 bytes each
            (tf.data.Dataset.from_tensor_slices(["x" * 17] * 10), {}, False),
            (ARRAYS, {"map_fn": same}, True),
            (ARRAYS, {"map_fn": twice}, False),
            (ARRAYS, {"map_fn": seeded}, False),
            (ARRAYS, {"transform": lambda example, rng: example}, False),
            (ARRAYS, {}, False),  # they are in memory
            (Numbered(), {"map_fn": same}, False),
            (lambda shard, shards: tf.data.Dataset.from_tensor_slices({"x": np.zeros(4)}), {"shards": 2}, False),
        ],
        ids=[
            *("stream", "stream twice the size", "endless stream", "generator", "larger generator"),
            *("texts", "longer texts", "mapped arrays", "mapped to twice the size", "by seed", "transform", "arrays"),
            *("rows by number", "shards"),
        ],
    )
    def test_is_whether_it_is_admitted_ends_and_fits(self, source, arguments, expected):
        assert Input(source, 2, **arguments).can_cache(10.0, 400) is expected

    def test_is_false_of_what_takes_too_long(self):
        data = Input(lambda: generated(Slow), 2)
        assert data.can_cache(10.0, 400)
        assert not data.can_cache(0.3, 400)
