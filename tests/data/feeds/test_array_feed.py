"""Feeds of arrays: the batches of each step."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input


def int64(value):
    return tf.constant(value, tf.int64)


class TestTraining:
    def test_an_epoch_in_order_ends_with_a_short_batch(self, read, numbered):
        feed = Input(numbered(10), 4, shuffle=False).open_train()
        batches = read(feed, 0, 4)
        assert [batch["y"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [0, 1, 2, 3]]
        np.testing.assert_array_equal(batches[2]["x"], [[8, 8.5], [9, 9.5]])
        assert (feed.num_examples, feed.batches_per_epoch) == (10, 3)

    def test_shuffled_epochs_differ_and_are_complete(self, read_labels, numbered):
        batches = read_labels(Input(numbered(10), 4, shuffle=True).open_train(), 0, 6)
        first, second = sum(batches[:3], []), sum(batches[3:], [])  # noqa: RUF017 (short lists)
        assert sorted(first) == sorted(second) == list(range(10))
        assert first != second
        assert first != list(range(10))

    def test_shuffling_keeps_x_and_y_together(self, read, numbered):
        for batch in read(Input(numbered(103), 16, shuffle=True).open_train(), 0, 7):
            np.testing.assert_array_equal(batch["x"][:, 0], batch["y"])

    def test_any_step_is_reached_without_state(self, read_labels, numbered):
        feed = Input(numbered(103), 16, shuffle=True, seed=3).open_train()
        expected = read_labels(feed, 10**6 - 2, 4)[2:]
        feed.seek(10**6)
        assert read_labels(feed, 10**6, 2) == expected
        assert feed.checkpoint_items() == {}


class TestEvaluation:
    def test_keeps_the_order(self, read_labels, numbered):
        feed = Input(numbered(5), 2, shuffle=True).open_eval()
        for _ in range(2):
            feed.rewind()
            assert read_labels(feed, 0, 3) == [[0, 1], [2, 3], [4]]

    @pytest.mark.parametrize("drop", [False, True])
    def test_past_the_end_nothing_counts(self, read_shards, numbered, drop):
        feed = Input(numbered(5), 2, drop_remainder=drop).open_eval()
        batches = [read_shards(feed, step, 2) for step in range(8)]
        assert [n for n, _ in batches] == [2, 2, 1, 0, 0, 0, 0, 0]
        for _, shards in batches[3:]:
            assert [(int(rows), len(batch["y"])) for batch, rows in shards] == [(0, 1), (0, 1)]


class TestSpec:
    def test_is_open_unless_the_remainder_is_dropped(self, numbered):
        spec = Input(numbered(10), 4).open_train().element_spec
        assert spec["x"] == tf.TensorSpec([None, 2], tf.float32)
        spec = Input(numbered(10), 4, drop_remainder=True).open_train().element_spec
        assert spec["x"] == tf.TensorSpec([4, 2], tf.float32)
        assert spec["y"] == tf.TensorSpec([4], tf.int64)

    def test_is_static_where_no_batch_is_short(self, numbered):
        assert Input(numbered(12), 4).open_eval().element_spec["y"] == tf.TensorSpec([4], tf.int64)


class TestGraph:
    @pytest.mark.parametrize("train", [True, False])
    def test_batches_in_order_are_slices(self, numbered, train):
        source = Input(numbered(10), 4, shuffle=False)
        feed = source.open_train() if train else source.open_eval()

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.int64)] * 2)
        def read(step, index):
            part, n = feed.fetch(feed.plan(step, int64(1)), int64(0))
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

    def test_does_not_contain_the_arrays(self, numbered):
        feed = Input(numbered(200_000), 4).open_train()

        @tf.function
        def step():
            part, n = feed.fetch(feed.plan(int64(0), int64(1)), int64(0))
            return feed.shard(part, n, 0, 1)

        graph = step.get_concrete_function().graph.as_graph_def()
        assert graph.ByteSize() < 100_000  # the arrays have 3.2 million bytes


class TestEvenArrayFeed:
    """10 rows in batches of 4: steps 2, 5, 8, ... are short."""

    @pytest.fixture
    def feed(self, numbered):
        return Input(numbered(10), 4, shuffle=False).open_train().even()

    @pytest.mark.parametrize(
        ("step", "num_steps", "spans"),
        [(0, 7, [2, 1, 2, 1, 1]), (1, 2, [1, 1]), (2, 1, [1]), (4, 1, [1]), (5, 3, [1, 2])],
    )
    def test_spans_end_at_each_short_batch(self, feed, step, num_steps, spans):
        assert feed.spans(step, num_steps) == spans

    def test_a_loop_without_short_batches_is_one_span(self, numbered):
        even = Input(numbered(8), 4, shuffle=False).open_train().even()
        assert even.spans(3, 1000) == [1000]
        assert not even.kind(1)

    def test_kinds_are_short_and_full(self, feed):
        assert [feed.kind(step) for step in range(6)] == [False, False, True] * 2

    def test_a_plan_is_narrowed_to_a_short_batch(self, feed):
        plan = feed.plan(int64(2), 2)
        assert [part.shape for part in plan] == [(2, 4)]
        rows, n = feed.fetch(feed.narrowed(plan, 2), int64(0))
        assert (rows.numpy().tolist(), int(n)) == ([8, 9], 2)
        assert feed.narrowed(plan, 3) is plan


class TestFullSlicesFeed:
    def test_leaves_the_short_batch_out(self, read, numbered):
        feed = Input(numbered(10), 4).open_eval().full_batches()
        assert feed.batches_per_epoch == 2
        assert [batch["y"].tolist() for batch in read(feed, 0, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    def test_there_is_none_without_a_full_batch(self, numbered):
        assert Input(numbered(3), 4).open_eval().full_batches() is None

    def test_other_feeds_have_none(self, numbered):
        assert Input(tf.data.Dataset.from_tensor_slices(numbered(8)), 4).open_eval().full_batches() is None
