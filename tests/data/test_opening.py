"""Opening a source: what is refused, and what is warned about."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input

NUMBERS = tf.data.Dataset.range(5)


class TestFirstBatch:
    @pytest.mark.parametrize(
        "source",
        [{"y": np.arange(5)}, NUMBERS, NUMBERS.filter(lambda i: i >= 0)],
        ids=["arrays", "known", "unknown"],
    )
    def test_must_be_full_to_drop_the_remainder(self, refused, source):
        with refused("the source of Input has 5 examples: expected at least 6 for one full batch"):
            Input(source, 6, drop_remainder=True).open_train()
        Input(source, 5, drop_remainder=True).open_train()

    def test_may_be_short_in_an_evaluation(self, read_to_end, numbered):
        (batch,) = read_to_end(Input(numbered(5), 6, drop_remainder=True, map_fn=lambda example: example).open_eval())
        assert batch["y"].tolist() == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("source", [NUMBERS.take(0), NUMBERS.filter(lambda i: i > 9)], ids=["known", "unknown"])
    def test_must_exist(self, refused, source):
        with refused("the source of Input has no examples: expected at least one"):
            Input(source, 2).open_train()


def test_an_endless_source_trains_but_does_not_evaluate(refused):
    Input(NUMBERS.repeat(), 2).open_train()
    with refused("an evaluation sees each example once, but the source never ends"):
        Input(NUMBERS.repeat(), 2).open_eval()


def test_skipping_and_full_batches_conflict(numbered, refused):
    data = Input(numbered(23), 2, drop_remainder=True, map_fn=lambda example: example, on_error="skip")
    with refused("Input.drop_remainder = True needs full ones: for arrays with a map_fn, bind Input.cache = True"):
        data.open_train()


def test_random_numbers_in_map_fn_are_warned_about(numbered, warnings):
    def noisy(example):
        return {"x": example["x"] + tf.random.uniform([2])}

    Input(numbered(10), 4, map_fn=noisy).open_eval()
    Input(numbered(10), 4, map_fn=lambda example: example).open_train()
    assert warnings == []
    Input(numbered(10), 4, map_fn=noisy).open_train()
    assert "tf.random.stateless" in warnings[0]


def from_python():
    def rows():
        yield from ({"y": i} for i in range(10))

    return tf.data.Dataset.from_generator(rows, output_signature={"y": tf.TensorSpec([], tf.int64)})


def shuffled():
    return tf.data.Dataset.from_tensor_slices({"y": np.arange(10)}).shuffle(5, seed=3)


def shuffled_inside():
    return tf.data.Dataset.range(2).flat_map(lambda _: shuffled().take(5))


class TestReplay:
    """Of a stream whose place no checkpoint can hold."""

    @pytest.mark.parametrize("shuffle", [True, pytest.param(False, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("source", [from_python, shuffled, shuffled_inside])
    def test_gives_the_same_batches_and_warns(self, read_labels, warnings, source, shuffle):
        feed = Input(source, 4, shuffle=shuffle, seed=1).open_train()
        assert "no checkpoint can hold" in warnings[0]
        assert feed.checkpoint_items() == {}
        expected = read_labels(feed, 0, 9)
        resumed = Input(source, 4, shuffle=shuffle, seed=1).open_train()
        resumed.seek(5)
        assert read_labels(resumed, 5, 4) == expected[5:]

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_ends_with_an_error_if_a_generator_is_used_up(self, read, shuffle):
        once = iter(range(10))

        def source():
            return tf.data.Dataset.from_generator(lambda: once, output_signature=tf.TensorSpec([], tf.int64))

        feed = Input(source, 4, shuffle=shuffle).open_train()
        with pytest.raises(tf.errors.OutOfRangeError):
            read(feed, 0, 5)
