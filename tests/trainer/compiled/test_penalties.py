"""What layers add to the loss, and gradients of repeated rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import from_keras
from tallyloop.trainer.compiled.penalties import check_penalties, warn_of_repeated_rows

X = tf.zeros([3, 4])


class Adds(keras.layers.Layer):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def call(self, x):
        self.add_loss(self.of(keras.ops.square(x)))
        return x


def model_that_adds(of):
    return keras.Sequential([keras.Input((4,)), Adds(of), keras.layers.Dense(1, kernel_regularizer="l2")])


class TestCheckPenalties:
    def test_a_mean_is_right(self, mirrored_on):
        with mirrored_on(2).scope():
            check_penalties(model_that_adds(keras.ops.mean), X)

    def test_a_sum_is_right_on_one_replica_alone(self, mirrored_on):
        check_penalties(model_that_adds(keras.ops.sum), X)
        with mirrored_on(2).scope(), pytest.raises(UsageError, match=r"for twice as many: a sum.*keras.ops.mean"):
            check_penalties(model_that_adds(keras.ops.sum), X)

    def test_one_for_each_example_is_refused(self):
        with pytest.raises(UsageError, match=r"adds a loss of shape \(3,\), which fit sums up: expected a number"):
            check_penalties(model_that_adds(lambda x: keras.ops.mean(x, -1)), X)


def embedded(optimizer, as_one_hot=False):
    ids = keras.Input((3,), dtype="int64")
    if as_one_hot:
        rows = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones")(
            keras.layers.CategoryEncoding(4, "one_hot")(ids)
        )
    else:
        rows = keras.layers.Embedding(4, 2, embeddings_initializer="ones")(ids)
    model = keras.Model(ids, keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(rows)))
    model.compile(optimizer, "mse")
    return model


class TestRepeatedRows:
    def test_are_told_where_fit_differs(self, caplog):
        warn_of_repeated_rows(embedded("sgd"))
        assert caplog.text == ""
        warn_of_repeated_rows(embedded("adam"))
        assert "embedding" in caplog.text
        assert "fit squares" in caplog.text

    def test_the_sum_is_squared_as_for_one_hot_rows(self):
        ids = np.random.default_rng(0).integers(0, 4, (8, 3))
        y = np.arange(8, dtype=np.float32)
        fitted, dense = embedded("adam"), embedded("adam", as_one_hot=True)
        for model in (fitted, dense):
            model.fit(ids, y, batch_size=4, shuffle=False, verbose=0, epochs=2)
        trainer = from_keras(embedded("adam"), Input((ids, y), 4, shuffle=False), train_epochs=2)
        trainer.train()
        found, of_dense, of_fit = (model.weights[0].numpy() for model in (trainer.model, dense, fitted))
        np.testing.assert_allclose(found, of_dense, atol=1e-6)
        assert np.abs(of_fit - of_dense).max() > 1e-4
