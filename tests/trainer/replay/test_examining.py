"""Losses by example and outputs by layer, against numbers worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.replica_share import ReplicaShare
from tallyloop.metrics import Tally
from tallyloop.trainer import Task
from tallyloop.trainer.replay.examining import examine, statistics
from tallyloop.trainer.step.watching import Shard
from tallyloop.trainer.task import SumOfMeans, TaskLosses, call_loss


class Doubling(Task):
    """A layer that doubles x (n, 2); the losses are what a function makes of that."""

    def __init__(self, losses):
        self.losses_of = losses

    def build_model(self):
        double = keras.layers.Dense(2, kernel_initializer=keras.initializers.Identity(2.0), name="double")
        return keras.Sequential([keras.Input((2,)), double])

    def loss(self, model, batch, training):
        return self.losses_of(model(batch["x"], training=training))


@pytest.fixture
def examined():
    """examined(losses) of the rows (1, 2) and (3, 5) on replica 0, and (0, -4) on replica 1."""

    def run(losses):
        task = Doubling(losses)
        found = TaskLosses(task, task.build_model())
        shards = []
        for replica, rows in enumerate(([[1.0, 2.0], [3.0, 5.0]], [[0.0, -4.0]])):
            numbers = [tf.constant(n, tf.int64) for n in (replica, 2 * replica, len(rows), 3)]
            shards.append(Shard({"x": tf.constant(rows)}, ReplicaShare(*numbers), 2))
        return examine(shards, found, lambda model, batch: call_loss(task, model, batch, training=True))

    return run


class TestLosses:
    def test_by_example(self, examined):
        found = examined(lambda out: out[:, 0])
        assert found.losses[""].tolist() == [2, 6, 0]
        assert found.note == ""

    def test_with_more_axes_are_averaged(self, examined):
        assert examined(lambda out: out).losses[""].tolist() == [3, 8, -4]

    def test_of_a_sum_are_found_one_by_one(self, examined):
        """The mean over the numbers above 3: 4 of (2, 4); 6 and 10 of (6, 10); none of (0, -8)."""

        def losses(out):
            mask = tf.cast(out > 3, tf.float32)
            return Tally(tf.reduce_sum(out * mask), tf.reduce_sum(mask))

        found = examined(losses)
        assert found.losses[""].tolist() == [4, 8, 0]
        assert "each example was run alone" in found.note
        assert len(found.layers) == 4  # those of the whole batch alone

    def test_of_a_sum_of_means(self, examined):
        assert examined(lambda out: SumOfMeans([out[:, 0], Tally(tf.reduce_sum(out), 2.0)])).losses[""].tolist() == [
            5,
            14,
            -4,
        ]

    def test_that_cannot_run_eagerly(self, examined):
        def losses(out):
            raise RuntimeError("no graph")

        assert examined(losses) == ({}, [], "Not known: run eagerly, the step raised RuntimeError: no graph")


class TestLayers:
    def test_of_each_replica(self, examined):
        first, _, second, _ = examined(lambda out: out[:, 0]).layers
        assert (first.layer.split("/")[-1], first.replica, first.shape) == ("double", 0, (2, 2))
        assert (first.mean, first.min, first.max, first.zeros) == (5.5, 2, 10, 0)
        assert first.std == np.std([2, 4, 6, 10])
        assert (second.replica, second.shape, second.zeros) == (1, (1, 2), 0.5)


class TestStatistics:
    def test_are_of_the_finite_numbers(self):
        found = statistics(np.array([1.0, np.nan, 3.0, np.inf, 0.0]))
        assert (found["mean"], found["min"], found["max"], found["zeros"], found["non_finite"]) == (4 / 3, 0, 3, 0.2, 2)

    def test_of_none(self):
        found = statistics(np.array([np.nan]))
        assert np.isnan(found["mean"])
        assert found["non_finite"] == 1
