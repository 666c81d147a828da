"""What a model was compiled with. Keras keeps it under private names: these tests notice when they go."""

import keras
import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.arguments import compiled_with, mask_of, overridden, own_metrics


def two_heads(**arguments):
    x = keras.Input((4,))
    model = keras.Model(x, {"a": keras.layers.Dense(1, name="a")(x), "b": keras.layers.Dense(3, name="b")(x)})
    model.compile("sgd", **arguments)
    return model


Y = {"a": tf.zeros([3]), "b": tf.zeros([3], tf.int64)}
OUT = {"a": tf.zeros([3, 1]), "b": tf.zeros([3, 3])}
LOSS = {"b": "sparse_categorical_crossentropy", "a": "mse"}


class TestLosses:
    def test_by_output(self):
        found = compiled_with(two_heads(loss=LOSS, loss_weights={"a": 2.0, "b": 0.5}), Y, OUT, None).losses
        assert {(each.name, each.loss.name, each.factor, each.label, each.output, each.weight) for each in found} == {
            ("a_loss", "mse", 2.0, 0, 0, None),
            ("b_loss", "sparse_categorical_crossentropy", 0.5, 1, 1, None),
        }

    def test_weights_of_each_output(self):
        weights = {"a": tf.ones([3]), "b": tf.ones([3])}
        assert {(each.name, each.weight) for each in compiled_with(two_heads(loss=LOSS), Y, OUT, weights).losses} == {
            ("a_loss", 0),
            ("b_loss", 1),
        }

    def test_one_output_alone(self):
        found = compiled_with(two_heads(loss={"b": LOSS["b"], "a": None}), Y, OUT, None).losses
        assert [(each.name, each.label) for each in found] == [("b_loss", 1)]

    def test_none(self):
        assert compiled_with(two_heads(), Y, OUT, None).losses == []

    def test_that_do_not_fit(self):
        with pytest.raises(UsageError, match=r"don't fit the data.*got y"):
            compiled_with(two_heads(loss=["mse", "mse", "mse"]), Y, OUT, None)


class TestMetrics:
    def test_named_and_resolved_as_by_keras(self):
        model = two_heads(loss=LOSS, metrics={"b": "accuracy", "a": ["mae"]}, weighted_metrics={"b": ["accuracy"]})
        found = compiled_with(model, Y, OUT, tf.ones([3])).metrics
        assert [(each.name, type(each.metric).__name__, each.label, each.weight) for each in found] == [
            ("a_mae", "MeanAbsoluteError", 0, None),
            ("b_accuracy", "SparseCategoricalAccuracy", 1, None),
            ("weighted_b_accuracy", "SparseCategoricalAccuracy", 1, 0),
        ]

    def test_without_weights_a_weighted_one_is_plain(self):
        model = two_heads(loss=LOSS, weighted_metrics={"b": ["accuracy"]})
        assert [each.weight for each in compiled_with(model, Y, OUT, None).metrics] == [None]


class TestModel:
    def test_mask(self):
        tensor = keras.layers.Embedding(3, 2, mask_zero=True)(tf.constant([[1, 0]]))
        assert mask_of(tensor).numpy().tolist() == [[True, False]]
        assert mask_of(tf.zeros([1])) is None

    def test_overridden_steps(self):
        class Own(keras.Model):
            def train_step(self, data): ...

        assert overridden(Own()) == ["train_step"]
        assert overridden(two_heads()) == []

    def test_own_metrics(self):
        class Counting(keras.layers.Layer):
            def __init__(self):
                super().__init__(name="counting")
                self.seen = keras.metrics.Mean(name="seen")

            def call(self, x):
                return x

        model = keras.Sequential([keras.Input((2,)), Counting()])
        model.compile("sgd", "mse", metrics=["mae"])
        assert list(own_metrics(model)) == [("counting", "seen")]
