"""Shards of a global batch, and feeds in the loop they are made for: a while_loop over strategy.run, traced once."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input

KINDS = ["arrays", "stream"]


def int64(value):
    return tf.constant(value, tf.int64)


@pytest.fixture
def source(numbered, stream_of):
    """source(kind, n) -> n numbered rows, as arrays or as a stream."""
    return lambda kind, n: numbered(n) if kind == "arrays" else stream_of(numbered(n))


class TestShard:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("count", [1, 2, 3, 4])
    def test_shards_add_up_in_order(self, read, read_shards, source, count, kind):
        feed = Input(source(kind, 23), 16, shuffle=False).open_train()
        for step, size in enumerate((16, 7)):
            n, shards = read_shards(feed, step, count)
            assert n == size
            assert [int(rows) for _, rows in shards] == [n * (r + 1) // count - n * r // count for r in range(count)]
            firsts = [int(feed.first(tf.constant(n, tf.int64), r, count)) for r in range(count)]
            assert firsts == np.cumsum([0, *(int(rows) for _, rows in shards)])[:-1].tolist()
            joined = np.concatenate([batch["y"][:rows] for batch, rows in shards])
            assert joined.tolist() == [*range(16 * step, 16 * step + size)]

    @pytest.mark.parametrize("count", [1, 3])
    def test_shards_of_a_shuffled_batch_add_up(self, read, read_shards, numbered, count):
        feed = Input(numbered(103), 16, shuffle=True).open_train()
        for step in (0, 6):
            (whole,) = read(feed, step, 1)
            _, shards = read_shards(feed, step, count)
            np.testing.assert_array_equal(np.concatenate([batch["x"][:rows] for batch, rows in shards]), whole["x"])

    @pytest.mark.parametrize("kind", KINDS)
    def test_an_empty_shard_borrows_a_row_that_does_not_count(self, read_shards, source, kind):
        n, shards = read_shards(Input(source(kind, 2), 8).open_eval(), 0, 4)
        assert n == 2
        assert [int(rows) for _, rows in shards] == [0, 1, 0, 1]
        assert [batch["y"].tolist() for batch, _ in shards] == [[0], [0], [1], [1]]

    def test_shapes_are_static_for_a_count_that_divides_a_full_batch(self, numbered):
        feed = Input(numbered(18), 8, drop_remainder=True).open_train()
        found = []

        @tf.function
        def shapes(index):
            part, n = feed.fetch(feed.plan(int64(0), int64(1)), 0)
            found.extend(feed.shard(part, n, index, count)[0]["x"].shape[0] for count in (1, 2, 3, 4))

        shapes.get_concrete_function(tf.TensorSpec([], tf.int32))
        assert found == [8, 4, None, 2]

    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize(("count", "rows"), [(1, None), (2, None), (1, 8), (2, 4)])
    def test_the_shape_of_an_example_is_static(self, shuffle, count, rows):
        x = np.zeros((20, 3, 5), np.float32)
        feed = Input({"x": x}, 8, shuffle=shuffle, drop_remainder=rows is not None).open_train()
        found = []

        @tf.function
        def shapes(index):
            part, n = feed.fetch(feed.plan(tf.cast(index, tf.int64), int64(1)), 0)
            found.append(feed.shard(part, n, index, count)[0]["x"].shape.as_list())

        shapes.get_concrete_function(tf.TensorSpec([], tf.int32))
        assert found == [[rows, 3, 5]]


class TestDescribe:
    def test_counts_in_the_epoch(self, numbered):
        feed = Input(numbered(10), 4, map_fn=lambda example: example).open_train()
        assert feed.describe(7) == "batch 1 of epoch 2 (counted from 0)"

    def test_names_the_rows_of_arrays(self, numbered):
        feed = Input(numbered(10), 4, shuffle=False).open_train()
        assert feed.describe(5) == "batch 2 of epoch 1 (counted from 0), rows [8, 9] of the source"

    def test_cuts_a_long_list_of_rows(self, numbered):
        described = Input(numbered(100), 100, shuffle=False).open_train().describe(0)
        assert described.endswith("62, 63] and 36 more of the source")

    def test_counts_in_a_stream(self, numbered, stream_of):
        feed = Input(stream_of(numbered(10)), 4).open_train()
        assert feed.describe(7) == "batch 7 of the stream (counted from 0)"


def compiled_loop(feed, strategy, traces):
    """(first_step, num_steps) -> the sums of x * step number and of rows, over steps and replicas."""

    def replica(part, n, step):
        context = tf.distribute.get_replica_context()
        index, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
        batch, rows = feed.shard(part, n, index, count)
        tf.debugging.assert_positive(tf.shape(batch["x"])[0])
        real = batch["x"][:rows]
        return tf.reduce_sum(tf.cast(real, tf.float64)) * tf.cast(step, tf.float64), rows

    @tf.function
    def loop(first_step, num_steps):
        traces.append(1)
        plan = feed.plan(first_step, num_steps)

        def body(i, total, seen):
            part, n = feed.fetch(plan, i)
            sums, rows = strategy.run(replica, (part, n, first_step + i + 1))
            total += strategy.reduce("SUM", sums, axis=None)
            seen += strategy.reduce("SUM", rows, axis=None)
            return i + 1, total, seen

        start = (int64(0), tf.constant(0.0, tf.float64), int64(0))
        return tf.while_loop(lambda i, *_: i < num_steps, body, start)[1:]

    return loop


class TestInALoop:
    @pytest.mark.parametrize("replicas", [1, 2, 4])
    @pytest.mark.parametrize("kind", KINDS)
    def test_replicas_see_each_example_of_each_step_once(self, mirrored_on, numbered, source, kind, replicas):
        feed = Input(source(kind, 18), 8, shuffle=False).open_train()
        traces = []
        loop = compiled_loop(feed, mirrored_on(replicas), traces)
        totals, seen = zip(*(loop(int64(first), int64(4)) for first in (0, 4)), strict=True)
        x = numbered(18)["x"].astype(float)
        batches = [x[:8], x[8:16], x[16:]]
        expected = [sum(batches[s % 3].sum() * (s + 1) for s in range(f, f + 4)) for f in (0, 4)]
        assert [float(total) for total in totals] == expected
        assert [int(rows) for rows in seen] == [8 + 8 + 2 + 8, 8 + 2 + 8 + 8]
        assert traces == [1]

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_shuffled_arrays_give_the_same_sum_on_any_number_of_replicas(self, mirrored_on, numbered, replicas):
        feed = Input(numbered(103), 16, shuffle=True, seed=9).open_train()
        total, seen = compiled_loop(feed, mirrored_on(replicas), [])(int64(3), int64(10))
        rows, sizes = feed.plan(int64(3), int64(10))
        x = numbered(103)["x"].astype(float)
        picked = [x[r[:n]].sum() for r, n in zip(rows.numpy(), sizes.numpy(), strict=True)]
        assert float(total) == np.dot(picked, np.arange(4, 14))
        assert int(seen) == 9 * 16 + 7

    def test_full_batches_compile_with_xla(self, numbered):
        feed = Input(numbered(18), 8, shuffle=True, drop_remainder=True).open_train()

        @tf.function(jit_compile=True)
        def loop(plan):
            def body(i, total):
                part, n = feed.fetch(plan, i)
                batch, rows = feed.shard(part, n, 0, 1)
                return i + 1, total + tf.reduce_sum(batch["y"]) * rows

            return tf.while_loop(lambda i, _: i < 4, body, (int64(0), int64(0)))[1]

        plan = feed.plan(int64(0), int64(4))
        assert int(loop(plan)) == 8 * plan[0].numpy().sum()
