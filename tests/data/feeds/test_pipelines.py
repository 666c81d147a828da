"""The order of the batches that pipelines give."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.pipelines import Stream


def doubled(example):
    return {"x": example["x"] * 2, "y": example["y"]}


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("map_fn", [None, doubled])
@pytest.mark.parametrize("kind", ["stream", "arrays"])
def test_the_seed_decides_the_order(read_labels, numbered, stream_of, kind, map_fn):
    def order(seed):
        data = stream_of(numbered(30)) if kind == "stream" else numbered(30)
        return read_labels(Input(data, 30, shuffle=True, seed=seed, map_fn=map_fn).open_train(), 0, 2)

    first = order(1)
    assert order(1) == first
    assert order(2) != first


class TestStream:
    def test_shuffles_each_example_once_per_pass(self, read_labels, numbered, stream_of):
        batches = read_labels(Input(stream_of(numbered(10)), 4, shuffle=True).open_train(), 0, 6)
        first, second = joined(batches[:3]), joined(batches[3:])
        assert sorted(first) == sorted(second) == list(range(10))
        assert first != second

    def test_has_no_thread_that_its_end_would_wait_for(self, numbered):
        """TensorFlow's autotuner, which sleeps for up to a minute."""
        examples = tf.data.Dataset.from_tensor_slices(numbered(4))
        stream = Stream(examples, None, 2, False, shuffle_buffer=None, seed=0)
        assert stream.for_evaluation().options().autotune.enabled is False


class TestMappedArrays:
    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("drop", [False, True])
    def test_come_in_the_order_of_the_arrays(self, read, numbered, shuffle, drop):
        plain = Input(numbered(10), 4, shuffle=shuffle, drop_remainder=drop).open_train()
        mapped = Input(numbered(10), 4, shuffle=shuffle, drop_remainder=drop, map_fn=doubled).open_train()
        for got, expected in zip(read(mapped, 0, 8), read(plain, 0, 8), strict=True):
            np.testing.assert_array_equal(got["x"], 2 * expected["x"])
        assert mapped.element_spec == plain.element_spec
        assert (mapped.num_examples, mapped.batches_per_epoch) == (10, 2 if drop else 3)

    def test_are_sought_at_any_step(self, read_labels, numbered):
        plain = Input(numbered(10), 4, shuffle=True).open_train()
        mapped = Input(numbered(10), 4, shuffle=True, map_fn=doubled).open_train()
        read_labels(mapped, 0, 2)
        for step in (0, 1, 2, 3, 10**6):
            mapped.seek(step)
            assert read_labels(mapped, step, 5) == read_labels(plain, step, 5)
        assert set(mapped.checkpoint_items()) == {"rows"}  # the note; the place is the step alone

    def test_evaluate_once_through(self, read_to_end, numbered):
        feed = Input(numbered(5), 2, shuffle=True, map_fn=doubled).open_eval()
        for _ in range(2):
            feed.rewind()
            assert [batch["y"].tolist() for batch in read_to_end(feed)] == [[0, 1], [2, 3], [4]]
