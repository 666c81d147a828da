"""Feeds of tf.data pipelines: streams, and arrays with a map_fn."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from tallyloop.data import Input


def slices(arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


def doubled(example):
    return {"x": example["x"] * 2, "y": example["y"]}


def labels(batches):
    return [batch["y"].tolist() for batch in batches]


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: said.append(message % args))
    return said


def test_a_stream_gives_the_batches_of_arrays(read, numbered):
    arrays = numbered(10)
    stream, array = Input(slices(arrays), 4).open_train(), Input(arrays, 4).open_train()
    for got, wanted in zip(read(stream, 0, 7), read(array, 0, 7), strict=True):
        np.testing.assert_array_equal(got["x"], wanted["x"])
        np.testing.assert_array_equal(got["y"], wanted["y"])
    assert stream.element_spec == array.element_spec
    assert (stream.num_examples, stream.batches_per_epoch) == (None, None)


def test_a_shuffled_stream_has_each_example_once_a_pass(read, numbered):
    batches = read(Input(slices(numbered(10)), 4, shuffle=True).open_train(), 0, 6)
    first, second = joined(labels(batches[:3])), joined(labels(batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize("make", [slices, dict])
@pytest.mark.parametrize("map_fn", [None, doubled])
def test_the_seed_decides_the_order(read, numbered, make, map_fn):
    def order(seed):
        feed = Input(make(numbered(30)), 30, shuffle=True, seed=seed, map_fn=map_fn).open_train()
        return labels(read(feed, 0, 2))

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_drop_remainder_of_a_stream(read, numbered):
    feed = Input(slices(numbered(10)), 4, drop_remainder=True).open_train()
    assert labels(read(feed, 0, 3)) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    assert feed.element_spec["x"] == tf.TensorSpec([4, 2], tf.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_shards_of_a_stream_add_up_to_the_global_batch(read_shards, numbered, count):
    feed = Input(slices(numbered(7)), 7).open_train()
    n, shards = read_shards(feed, 0, count)
    assert n == 7
    assert joined(batch["y"][:rows].tolist() for batch, rows in shards) == list(range(7))


def test_an_empty_shard_of_a_stream_borrows(read_shards, numbered):
    _, shards = read_shards(Input(slices(numbered(2)), 8).open_eval(), 0, 4)
    assert [int(rows) for _, rows in shards] == [0, 1, 0, 1]
    assert [batch["y"].tolist() for batch, _ in shards] == [[0], [0], [1], [1]]


def test_an_evaluation_ends_without_a_phantom_and_starts_again(read_to_end, numbered):
    feed = Input(slices(numbered(5)), 2, shuffle=True).open_eval()
    for _ in range(3):
        feed.rewind()
        assert labels(read_to_end(feed)) == [[0, 1], [2, 3], [4]]


def test_rewind_in_the_middle_starts_at_the_first_example(read, read_to_end, numbered):
    feed = Input(slices(numbered(5)), 2).open_eval()
    read(feed, 0, 2)
    feed.rewind()
    assert labels(read_to_end(feed)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("drop", "rows"), [(False, 1), (True, 1)])
def test_past_the_end_comes_a_placeholder_that_counts_nothing(read_shards, numbered, drop, rows):
    feed = Input(slices(numbered(4)), 2, drop_remainder=drop).open_eval()
    for _ in range(2):
        assert read_shards(feed, 0, 1)[0] == 2
    n, ((batch, counted),) = read_shards(feed, 0, 1)
    assert (n, counted) == (0, 0)
    np.testing.assert_array_equal(batch["x"], np.zeros([rows, 2]))


def test_one_trace_serves_two_evaluations_and_a_rewind(numbered):
    feed = Input(slices(numbered(5)), 2).open_eval()
    traces = []

    @tf.function
    def evaluate():
        traces.append(1)
        part, n = feed.fetch((), tf.constant(0, tf.int64))
        total = tf.constant(0, tf.int64)
        while n > 0:
            batch, rows = feed.shard(part, n, 0, 1)
            total += tf.reduce_sum(batch["y"][:rows] + 1)
            part, n = feed.fetch((), tf.constant(0, tf.int64))
        return total

    for _ in range(3):
        feed.rewind()
        assert int(evaluate()) == 15
    assert traces == [1]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stop", range(14))
def test_a_checkpoint_holds_a_streams_place(tmp_path, read, numbered, stop, shuffle):
    def opened():
        return Input(slices(numbered(23)), 4, shuffle=shuffle, shuffle_buffer=8, seed=1).open_train()

    feed = opened()
    read(feed, 0, stop)
    path = tf.train.Checkpoint(**feed.checkpoint_items()).write(str(tmp_path / "at"))
    expected = labels(read(feed, stop, 9))
    resumed = opened()
    tf.train.Checkpoint(**resumed.checkpoint_items()).read(path).assert_consumed()
    resumed.seek(stop)
    assert labels(read(resumed, stop, 9)) == expected


def generated():
    yield from ({"y": i} for i in range(10))


def from_python():
    return tf.data.Dataset.from_generator(generated, output_signature={"y": tf.TensorSpec([], tf.int64)})


def shuffled_by_itself():
    return slices({"y": np.arange(10)}).shuffle(5, seed=3)


def shuffled_deep_inside():
    return tf.data.Dataset.range(2).flat_map(lambda _: shuffled_by_itself().take(5))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("source", [from_python, shuffled_by_itself, shuffled_deep_inside])
def test_what_no_checkpoint_holds_is_replayed_and_said(read, warnings, source, shuffle):
    feed = Input(source, 4, shuffle=shuffle, seed=1).open_train()
    assert "no checkpoint can hold" in warnings[0]
    assert feed.checkpoint_items() == {}
    expected = labels(read(feed, 0, 9))
    resumed = Input(source, 4, shuffle=shuffle, seed=1).open_train()
    resumed.seek(5)
    assert labels(read(resumed, 5, 4)) == expected[5:]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_used_up_generator_ends_with_an_error(read, shuffle):
    once = iter(range(10))

    def source():
        return tf.data.Dataset.from_generator(lambda: once, output_signature=tf.TensorSpec([], tf.int64))

    feed = Input(source, 4, shuffle=shuffle).open_train()
    with pytest.raises(tf.errors.OutOfRangeError):
        read(feed, 0, 5)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop", [False, True])
def test_mapped_arrays_come_in_the_order_of_arrays(read, numbered, shuffle, drop):
    plain = Input(numbered(10), 4, shuffle=shuffle, drop_remainder=drop).open_train()
    mapped = Input(numbered(10), 4, shuffle=shuffle, drop_remainder=drop, map_fn=doubled).open_train()
    for got, wanted in zip(read(mapped, 0, 8), read(plain, 0, 8), strict=True):
        np.testing.assert_array_equal(got["x"], 2 * wanted["x"])
    assert mapped.element_spec == plain.element_spec
    assert (mapped.num_examples, mapped.batches_per_epoch) == (10, 2 if drop else 3)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 10**6])
def test_mapped_arrays_are_sought_at_any_step(read, numbered, step):
    plain = Input(numbered(10), 4, shuffle=True).open_train()
    mapped = Input(numbered(10), 4, shuffle=True, map_fn=doubled).open_train()
    read(mapped, 0, 2)
    mapped.seek(step)
    assert labels(read(mapped, step, 5)) == labels(read(plain, step, 5))
    assert mapped.checkpoint_items() == {}


def test_mapped_arrays_evaluate_once_through(read_to_end, numbered):
    feed = Input(numbered(5), 2, shuffle=True, map_fn=doubled).open_eval()
    for _ in range(2):
        feed.rewind()
        assert labels(read_to_end(feed)) == [[0, 1], [2, 3], [4]]


def test_seek_and_rewind_are_not_traced_again(numbered):
    feed = Input(numbered(10), 4, map_fn=doubled).open_train()
    traces = []

    @tf.function
    def following():
        traces.append(1)
        return feed.fetch((), tf.constant(0, tf.int64))[0]["y"]

    following()
    for step, wanted in [(2, [8, 9]), (4, [4, 5, 6, 7])]:
        feed.seek(step)
        assert following().numpy().tolist() == wanted
    assert traces == [1]


def test_random_numbers_in_map_fn_are_said(numbered, warnings):
    def noisy(example):
        return {"x": example["x"] + tf.random.uniform([2])}

    Input(numbered(10), 4, map_fn=noisy).open_eval()
    Input(numbered(10), 4, map_fn=doubled).open_train()
    assert warnings == []
    Input(numbered(10), 4, map_fn=noisy).open_train()
    assert "tf.random.stateless" in warnings[0]


@pytest.mark.parametrize("make", [slices, dict])
def test_cache_makes_random_access_of_everything(read, numbered, make):
    calls = []

    def counted(example):
        tf.py_function(lambda: calls.append(1), [], [])
        return doubled(example)

    data = Input(make(numbered(103)), 16, shuffle=True, cache=True, map_fn=counted)
    feed, plain = data.open_train(), Input(numbered(103), 16, shuffle=True).open_train()
    for got, wanted in zip(read(feed, 10**6, 8), read(plain, 10**6, 8), strict=True):
        np.testing.assert_array_equal(got["x"], 2 * wanted["x"])
    assert (feed.num_examples, feed.batches_per_epoch) == (103, 7)
    assert feed.checkpoint_items() == {}
    data.open_eval()
    assert len(calls) == 103


def test_tuples_and_nests_are_examples(read):
    pairs = tf.data.Dataset.range(5).map(lambda i: (i, {"z": tf.cast(i, tf.float32)}))
    for cache in (False, True):
        first, nest = read(Input(pairs, 3, cache=cache).open_train(), 1 if cache else 0, 2)[-1]
        assert first.tolist() == ([0, 1, 2] if cache else [3, 4])
        assert nest["z"].dtype == np.float32
