"""A step run eagerly: its shards, and what layers return."""

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.step.batches import fetch_one
from tallyloop.trainer.step.watching import own_shards, watched


class TestOwnShards:
    def test_leave_out_replicas_without_examples(self, mirrored_on):
        """Three rows on four replicas: the bounds are 0, 0, 1, 2, 3."""
        feed = Input({"x": np.arange(3.0)}, 4, shuffle=False).open_train()
        found = list(own_shards(mirrored_on(4), feed, *fetch_one(feed, 0)))
        assert [int(each.share.replica) for each in found] == [1, 2, 3]
        assert [each.batch["x"].numpy().tolist() for each in found] == [[0], [1], [2]]
        assert [int(each.share.first) for each in found] == [0, 1, 2]
        assert {each.replicas for each in found} == {4}

    def test_of_a_short_batch_that_xla_compiles(self, mirrored_on):
        feed = Input({"x": np.arange(5.0)}, 3, shuffle=False).open_train().even()
        (found,) = own_shards(mirrored_on(1), feed, *fetch_one(feed, 1))
        assert found.batch["x"].numpy().tolist() == [3, 4]


class TestWatched:
    def test_lists_outputs_in_order_and_whether_the_inputs_were_finite(self):
        class Outer(keras.layers.Layer):
            def __init__(self):
                super().__init__(name="outer")
                self.inner = keras.layers.Rescaling(2.0, name="inner")

            def call(self, x):
                return {"twice": self.inner(x), "size": tf.shape(x)}

        model = keras.Sequential([keras.Input((2,)), Outer()])
        with watched(model) as outputs:
            model(tf.constant([[1.0, np.inf]]))
        assert [each.layer.split("/")[-1].rstrip("_0123456789") for each in outputs] == ["inner", "outer", "sequential"]
        assert [[t.numpy().tolist() for t in each.tensors] for each in outputs] == [[[[2.0, np.inf]]]] * 3
        assert not any(each.fed for each in outputs)
        assert "call" not in vars(model.layers[0])
