"""A compiled model in the scope of another strategy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import one_device
from tallyloop.trainer.compiled.cloning import in_scope, strategy_for


def small():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(2)])


class NoConfig(keras.Model):
    def __init__(self, size):
        super().__init__()
        self.head = keras.layers.Dense(size)

    def call(self, x):
        return self.head(x)


def placed(model, strategy, created_for=None):
    with strategy.scope():
        return in_scope(
            model, created_for or tf.distribute.get_strategy().__class__, lambda found: found(tf.zeros([1, 3]))
        )


class TestStrategy:
    def test_the_models_own(self, mirrored_on):
        assert strategy_for(small(), None) is tf.distribute.get_strategy()
        with mirrored_on(2).scope():
            model = small()
        assert strategy_for(model, None) is mirrored_on(2)

    def test_one_device_is_the_default_one(self):
        assert strategy_for(small(), one_device) is tf.distribute.get_strategy()
        assert strategy_for(small(), one_device()) is tf.distribute.get_strategy()
        other = one_device("/cpu:1")
        assert strategy_for(small(), other) is other

    def test_another_one_if_given(self, mirrored_on):
        assert strategy_for(small(), mirrored_on(2)) is mirrored_on(2)


class TestInScope:
    def test_itself_where_it_was_created(self, mirrored_on):
        model = small()
        default = tf.distribute.get_strategy()
        assert in_scope(model, default, lambda found: None) is model
        with mirrored_on(2).scope():
            model = small()
            assert in_scope(model, mirrored_on(2), lambda found: None) is model

    def test_a_copy_with_its_weights_and_seeds(self, mirrored_on):
        model = small()
        model(tf.ones([1, 3]), training=True)  # advances the seed of dropout
        copy = placed(model, mirrored_on(2))
        assert copy is not model
        assert copy.layers[-1].kernel.value.distribute_strategy is mirrored_on(2)
        for mine, its in zip(copy.variables, model.variables, strict=True):
            np.testing.assert_array_equal(mine.numpy(), its.numpy())

    def test_frozen_layers_stay_so(self, mirrored_on):
        model = small()
        model.layers[-1].trainable = False
        assert placed(model, mirrored_on(2)).trainable_variables == []

    def test_a_model_without_weights_yet(self, mirrored_on):
        model = keras.Sequential([keras.layers.Dense(2)])
        assert placed(model, mirrored_on(2)).built
        assert not model.built

    def test_a_lambda_serves_both(self, mirrored_on):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: 2 * x), keras.layers.Dense(1)])
        copy = placed(model, mirrored_on(2))
        np.testing.assert_allclose(copy(np.ones((2, 3))), model(np.ones((2, 3))))

    def test_one_that_cannot_be_copied(self, mirrored_on):
        model = NoConfig(2)
        model(tf.zeros([1, 3]))
        with pytest.raises(UsageError, match=r"NoConfig.*cannot be copied.*with strategy.scope\(\).*get_config"):
            placed(model, mirrored_on(2))
        assert in_scope(model, tf.distribute.get_strategy(), lambda found: None) is model
