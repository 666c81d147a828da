"""Running a function on every replica, each with its shard of the batch."""

import gin
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.step.replica import run_on_shards


@pytest.fixture
def shards(mirrored_on):
    """shards(examples, replicas) -> what each replica is given of the batch [0, 1, ..., examples - 1]."""

    def run(examples, replicas, see=lambda: None):
        strategy, feed = mirrored_on(replicas), Input({"x": np.arange(examples)}, examples, shuffle=False).open_train()

        def work(batch, share):
            see()
            return batch["x"], tf.stack([share.replica, share.first, share.rows, share.examples])

        @tf.function(autograph=False)
        def step():
            part, n = feed.fetch(feed.plan(tf.constant(0, tf.int64), 1), tf.constant(0, tf.int64))
            return run_on_shards(strategy, feed, part, n, work)

        batches, given = map(strategy.experimental_local_results, step())
        return [([*rows.numpy()], tuple(share.numpy())) for rows, share in zip(batches, given, strict=True)]

    return run


class TestShards:
    """A share is (replica, first, rows, examples)."""

    def test_one_replica(self, shards):
        assert shards(3, 1) == [([0, 1, 2], (0, 0, 3, 3))]

    def test_uneven(self, shards):
        assert shards(7, 3) == [([0, 1], (0, 0, 2, 7)), ([2, 3], (1, 2, 2, 7)), ([4, 5, 6], (2, 4, 3, 7))]

    def test_empty_one_borrows_an_example(self, shards):
        found = shards(2, 3)
        assert [share for _, share in found] == [(0, 0, 0, 2), (1, 0, 1, 2), (2, 1, 1, 2)]
        assert [len(rows) for rows, _ in found] == [1, 1, 1]
        assert [rows for rows, _ in found[1:]] == [[0], [1]]


class TestGinScope:
    def test_is_entered_on_each_replica(self, shards):
        """A scope belongs to a thread, and each replica is traced in one of its own."""
        seen = []
        with gin.config_scope("outer"), gin.config_scope("inner"):
            shards(3, 3, see=lambda: seen.append(gin.current_scope_str()))
        assert seen == ["outer/inner"] * 3

    def test_without_one(self, shards):
        seen = []
        shards(3, 3, see=lambda: seen.append(gin.current_scope_str()))
        assert seen == [""] * 3

    def test_in_training_and_evaluation(self, regression_task, make_trainer):
        seen = []

        class Scoped(regression_task):
            def loss(self, model, batch, training):
                index = tf.distribute.get_replica_context().replica_id_in_sync_group
                seen.append((training, int(tf.get_static_value(index)), gin.current_scope_str()))
                return super().loss(model, batch, training)

        trainer = make_trainer(Scoped(), replicas=2, train_steps=1, evaluate=True)
        with gin.config_scope("outer"), gin.config_scope("inner"):
            trainer.train_and_eval()
        assert sorted(seen) == [(training, i, "outer/inner") for training in (False, True) for i in (0, 1)]
        assert gin.current_scope_str() == ""
