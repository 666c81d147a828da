"""Feeds in the loop they are made for: a while_loop over strategy.run, traced once."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input


def as_arrays(arrays):
    return arrays


def as_stream(arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


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

        start = (tf.constant(0, tf.int64), tf.constant(0.0, tf.float64), tf.constant(0, tf.int64))
        return tf.while_loop(lambda i, *_: i < num_steps, body, start)[1:]

    return loop


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("make", [as_arrays, as_stream])
def test_mirrored_replicas_see_each_example_of_each_step_once(numbered, make, replicas):
    strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])
    feed = Input(make(numbered(18)), 8).open_train()
    traces = []
    loop = compiled_loop(feed, strategy, traces)
    totals, seen = zip(*(loop(tf.constant(f, tf.int64), tf.constant(4, tf.int64)) for f in (0, 4)), strict=True)
    x = numbered(18)["x"].astype(float)
    batches = [x[:8], x[8:16], x[16:]]
    expected = [sum(batches[s % 3].sum() * (s + 1) for s in range(f, f + 4)) for f in (0, 4)]
    assert [float(total) for total in totals] == expected
    assert [int(rows) for rows in seen] == [8 + 8 + 2 + 8, 8 + 2 + 8 + 8]
    assert traces == [1]


@pytest.mark.parametrize("replicas", [1, 2])
def test_shuffled_arrays_give_the_same_sum_on_any_number_of_replicas(numbered, replicas):
    strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])
    feed = Input(numbered(103), 16, shuffle=True, seed=9).open_train()
    loop = compiled_loop(feed, strategy, [])
    total, seen = loop(tf.constant(3, tf.int64), tf.constant(10, tf.int64))
    rows, sizes = feed.plan(tf.constant(3, tf.int64), tf.constant(10, tf.int64))
    x = numbered(103)["x"].astype(float)
    picked = [x[r[:n]].sum() for r, n in zip(rows.numpy(), sizes.numpy(), strict=True)]
    assert float(total) == np.dot(picked, np.arange(4, 14))
    assert int(seen) == 9 * 16 + 7


def test_a_loop_over_full_batches_compiles_with_xla(numbered):
    feed = Input(numbered(18), 8, shuffle=True, drop_remainder=True).open_train()

    @tf.function(jit_compile=True)
    def loop(plan):
        def body(i, total):
            part, n = feed.fetch(plan, i)
            batch, rows = feed.shard(part, n, 0, 1)
            return i + 1, total + tf.reduce_sum(batch["y"]) * rows

        start = (tf.constant(0, tf.int64), tf.constant(0, tf.int64))
        return tf.while_loop(lambda i, _: i < 4, body, start)[1]

    plan = feed.plan(tf.constant(0, tf.int64), tf.constant(4, tf.int64))
    assert int(loop(plan)) == 8 * plan[0].numpy().sum()
