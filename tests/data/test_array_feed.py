"""Feeds of arrays: what a replica gets of each step."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input


def test_an_epoch_in_order_with_its_short_batch(read, numbered):
    feed = Input(numbered(10), 4).open_train()
    batches = read(feed, 0, 4)
    assert [batch["y"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]
    np.testing.assert_array_equal(batches[2]["x"], [[8, 8.5], [9, 9.5]])
    assert (feed.num_examples, feed.batches_per_epoch) == (10, 3)


def test_spec_is_dynamic_unless_the_remainder_is_dropped(numbered):
    spec = Input(numbered(10), 4).open_train().element_spec
    assert spec["x"] == tf.TensorSpec([None, 2], tf.float32)
    spec = Input(numbered(10), 4, drop_remainder=True).open_train().element_spec
    assert spec["x"] == tf.TensorSpec([4, 2], tf.float32)
    assert spec["y"] == tf.TensorSpec([4], tf.int64)


@pytest.mark.parametrize("train", [True, False])
def test_in_their_order_batches_are_slices_and_nothing_is_gathered(numbered, train):
    source = Input(numbered(10), 4)
    feed = source.open_train() if train else source.open_eval()

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.int64)] * 2)
    def read(step, index):
        part, n = feed.fetch(feed.plan(step, tf.constant(1, tf.int64)), tf.constant(0, tf.int64))
        return feed.shard(part, n, 0, 1), feed.shard(part, n, index, 2)

    graph = read.get_concrete_function().graph
    assert {"Range", "GatherV2"}.isdisjoint(op.type for op in graph.get_operations())
    for step, rows in enumerate([range(4), range(4, 8), range(8, 10)]):
        (whole, n), _ = read(step, 0)
        assert (whole["y"].numpy().tolist(), int(n)) == ([*rows], len(rows))
        halves = [read(step, index)[1][0]["y"].numpy() for index in (0, 1)]
        assert np.concatenate(halves).tolist() == [*rows]
    (whole, n), _ = read(3, 0)  # the next epoch, or past the end
    assert (whole["y"].numpy().tolist(), int(n)) == ([0, 1, 2, 3], 4) if train else int(n) == 0 < len(whole["y"])


def test_where_no_batch_is_short_shapes_are_static(numbered):
    assert Input(numbered(12), 4).open_eval().element_spec["y"] == tf.TensorSpec([4], tf.int64)


def test_shuffled_epochs_differ_and_are_complete(read, numbered):
    batches = read(Input(numbered(10), 4, shuffle=True).open_train(), 0, 6)
    first = np.concatenate([batch["y"] for batch in batches[:3]])
    second = np.concatenate([batch["y"] for batch in batches[3:]])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(10))


def test_x_and_y_stay_together_when_shuffled(read, numbered):
    for batch in read(Input(numbered(103), 16, shuffle=True).open_train(), 0, 7):
        np.testing.assert_array_equal(batch["x"][:, 0], batch["y"])


def test_evaluation_keeps_the_order(read, numbered):
    feed = Input(numbered(5), 2, shuffle=True).open_eval()
    for _ in range(2):
        feed.rewind()
        assert [batch["y"].tolist() for batch in read(feed, 0, 3)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("step", [0, 6])
def test_shards_add_up_to_the_global_batch_in_order(read, read_shards, numbered, count, step):
    feed = Input(numbered(103), 16, shuffle=True).open_train()
    (whole,) = read(feed, step, 1)
    n, shards = read_shards(feed, step, count)
    assert n == (16 if step == 0 else 7)
    assert [int(rows) for _, rows in shards] == [n * (r + 1) // count - n * r // count for r in range(count)]
    joined = np.concatenate([batch["x"][:rows] for batch, rows in shards])
    np.testing.assert_array_equal(joined, whole["x"])


def test_an_empty_shard_borrows_a_row_that_does_not_count(read_shards, numbered):
    n, shards = read_shards(Input(numbered(18), 16).open_train(), 1, 4)
    assert n == 2
    assert [int(rows) for _, rows in shards] == [0, 1, 0, 1]
    assert [batch["y"].tolist() for batch, _ in shards] == [[16], [16], [17], [17]]


def test_a_full_batch_has_static_shapes_for_a_count_that_divides_it(numbered):
    feed = Input(numbered(18), 8, drop_remainder=True).open_train()
    found = []

    @tf.function
    def shapes(index):
        part, n = feed.fetch(feed.plan(tf.constant(0, tf.int64), tf.constant(1, tf.int64)), 0)
        found.extend(feed.shard(part, n, index, count)[0]["x"].shape[0] for count in (1, 2, 3, 4))

    shapes.get_concrete_function(tf.TensorSpec([], tf.int32))
    assert found == [8, 4, None, 2]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("count", "rows"), [(1, None), (2, None), (1, 8), (2, 4)])
def test_the_shape_of_an_example_is_static(shuffle, count, rows):
    x = np.zeros((20, 3, 5), np.float32)
    feed = Input({"x": x}, 8, shuffle=shuffle, drop_remainder=rows is not None).open_train()
    found = []

    @tf.function
    def shapes(index):
        part, n = feed.fetch(feed.plan(tf.cast(index, tf.int64), tf.constant(1, tf.int64)), 0)
        found.append(feed.shard(part, n, index, count)[0]["x"].shape.as_list())

    shapes.get_concrete_function(tf.TensorSpec([], tf.int32))
    assert found == [[rows, 3, 5]]


def test_seek_is_free(read, numbered):
    feed = Input(numbered(103), 16, shuffle=True, seed=3).open_train()
    expected = read(feed, 10**6 - 2, 4)[2:]
    feed.seek(10**6)
    for got, wanted in zip(read(feed, 10**6, 2), expected, strict=True):
        np.testing.assert_array_equal(got["y"], wanted["y"])
    assert feed.checkpoint_items() == {}


def test_strings_and_lists_are_arrays_too(read):
    feed = Input({"word": ["a", "bc", "d"], "flag": np.array([True, False, True])}, 2).open_eval()
    assert read(feed, 1, 1)[0]["word"].tolist() == [b"d"]


def test_the_arrays_are_not_copied_into_the_graph(numbered):
    feed = Input(numbered(200_000), 4).open_train()

    @tf.function
    def step():
        part, n = feed.fetch(feed.plan(tf.constant(0, tf.int64), tf.constant(1, tf.int64)), 0)
        return feed.shard(part, n, 0, 1)

    graph = step.get_concrete_function().graph.as_graph_def()
    assert graph.ByteSize() < 100_000  # the arrays have 3.2 million bytes


def test_the_source_is_read_once_and_not_before_it_is_needed(numbered):
    calls = []

    def source():
        calls.append(1)
        return numbered(3)

    data = Input(source, 2)
    assert calls == []
    data.open_train()
    data.open_eval()
    assert calls == [1]


@pytest.mark.parametrize(("drop", "passed"), [(False, [2, 2, 1]), (True, [2, 2, 1])])
def test_past_the_end_of_an_evaluation_nothing_counts(read_shards, numbered, drop, passed):
    feed = Input(numbered(5), 2, drop_remainder=drop).open_eval()
    sizes = [read_shards(feed, step, 2) for step in range(8)]
    assert [n for n, _ in sizes] == passed + [0] * (8 - len(passed))
    for _, shards in sizes[len(passed) :]:
        assert [(int(rows), len(batch["y"])) for batch, rows in shards] == [(0, 1), (0, 1)]


def test_input_tells_its_spec_and_its_arrays(numbered):
    def halved(example):
        return {"x": example["x"][:1], "n": tf.cast(example["y"], tf.int32)}

    data = Input(numbered(5), 2)
    assert data.element_spec == data.open_train().element_spec
    np.testing.assert_array_equal(data.arrays["y"], np.arange(5))
    mapped = Input(numbered(5), 2, map_fn=halved, drop_remainder=True)
    assert mapped.element_spec == mapped.open_train().element_spec
    assert mapped.element_spec == {"x": tf.TensorSpec([2, 1]), "n": tf.TensorSpec([2], tf.int32)}
    assert mapped.arrays is None
    cached = Input(numbered(5), 2, map_fn=halved, cache=True)
    assert cached.arrays["n"].dtype == np.int32
    endless = Input(tf.data.Dataset.range(3).map(lambda i: (i, i)).repeat(), 2)
    assert endless.element_spec == (tf.TensorSpec([None], tf.int64),) * 2
    assert endless.arrays is None
