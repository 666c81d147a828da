"""On any number of replicas, an optimizer's options mean what they mean in plain Keras on one device."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer.model.optimizers import build_optimizer

SGD = functools.partial(keras.optimizers.SGD, 0.02, momentum=0.9)
OPTIONS = {
    "clipnorm, averaged weights": lambda: SGD(clipnorm=0.7, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3),
    "global_clipnorm, loss_scale_factor": lambda: SGD(global_clipnorm=0.7, loss_scale_factor=8.0),
    "clipvalue, gradient_accumulation_steps": lambda: SGD(clipvalue=0.7, gradient_accumulation_steps=2),
    "dynamic loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        SGD(clipnorm=0.7), initial_scale=64.0, dynamic_growth_steps=2
    ),
}


@functools.cache
def plain_keras(make, steps, rows, task):
    """The weights by `optimizer.apply` in an eager loop on one device; the loss is the mean of each batch."""
    data, optimizer, model = rows(40), make(), task.build_model()
    for step in range(steps):
        part = slice(16 * (step % 3), 16 * (step % 3) + 16)
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(task.loss(model, {key: tf.constant(v[part]) for key, v in data.items()}, True))
            objective = optimizer.scale_loss(mean)
        optimizer.apply(tape.gradient(objective, model.trainable_variables), model.trainable_variables)
    return np.concatenate([weight.ravel() for weight in model.get_weights()])


@pytest.fixture(scope="module")
def task(regression_task):
    return regression_task()


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("options", OPTIONS)
def test_options_act_on_the_reduced_gradient(task, make_trainer, weights_of, rows, options, replicas):
    make = OPTIONS[options]
    trainer = make_trainer(task, replicas=replicas, optimizer=make, train_steps=6)
    trainer.train()
    expected = plain_keras(make, 6, rows, task)
    np.testing.assert_allclose(weights_of(trainer), expected, atol=2e-5, rtol=0)
    unclipped = plain_keras(SGD, 6, rows, task)
    assert np.abs(expected - unclipped).max() > 0.01  # the options do something


def test_clipping_of_the_trainer_is_right_under_a_loss_scale(task, make_trainer, weights_of, rows):
    """The norm is that of the gradient without the scale; the reference clips by the optimizer's option."""

    def scaled(**options):
        return keras.optimizers.LossScaleOptimizer(SGD(**options), initial_scale=1024.0)

    trainer = make_trainer(task, replicas=2, optimizer=scaled, train_steps=6, clip_global_norm=0.7)
    trainer.train()
    expected = plain_keras(lambda: SGD(global_clipnorm=0.7), 6, rows, task)
    np.testing.assert_allclose(weights_of(trainer), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("where", ["factory", "in scope"])
def test_an_optimizer_made_anywhere_trains_and_is_the_users_own(
    task, make_trainer, mirrored_on, weights_of, rows, where
):
    """Outside of any scope is how the test of the schedule below makes one."""
    if where == "in scope":
        with mirrored_on(2).scope():
            given = optimizer = SGD()
    else:
        optimizer = SGD()
        given = lambda: optimizer  # noqa: E731
    trainer = make_trainer(task, replicas=2, optimizer=given, train_steps=6)
    trainer.train()
    np.testing.assert_allclose(weights_of(trainer), plain_keras(SGD, 6, rows, task), atol=2e-5, rtol=0)
    assert optimizer.built
    assert int(optimizer.iterations.numpy()) == 6


def test_a_schedule_of_the_rate_counts_updates(task, make_trainer, weights_of, rows):
    def decaying():
        return keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.02, 0.001]))

    optimizer = decaying()
    trainer = make_trainer(task, replicas=2, optimizer=optimizer, train_steps=6)
    trainer.train()
    np.testing.assert_allclose(weights_of(trainer), plain_keras(decaying, 6, rows, task), atol=2e-5, rtol=0)
    assert int(optimizer.iterations.numpy()) == 6


def test_adopting_keeps_the_identity(mirrored_on):
    strategy = mirrored_on(2)
    with strategy.scope():
        variables = [keras.Variable([1.0, 2.0], name="v")]
    optimizer = SGD()
    assert build_optimizer(optimizer, strategy, variables) is optimizer
    inner = SGD()
    outer = keras.optimizers.LossScaleOptimizer(inner)
    assert build_optimizer(lambda: outer, strategy, variables) is outer
    assert outer.inner_optimizer is inner
    assert inner.built


@pytest.mark.parametrize("given", ["sgd", lambda: "sgd", SGD, keras.optimizers.SGD, 0.1])
def test_what_is_no_optimizer_is_refused(mirrored_on, given):
    variables = [keras.Variable([1.0])]
    if given in (SGD, keras.optimizers.SGD):  # these make one
        assert build_optimizer(given, tf.distribute.get_strategy(), variables).built
    else:
        with pytest.raises(UsageError, match=r"Trainer.optimizer: wanted a Keras optimizer"):
            build_optimizer(given, tf.distribute.get_strategy(), variables)


def test_an_optimizer_of_other_variables_is_refused():
    optimizer = SGD()
    optimizer.build([keras.Variable([1.0])])
    with pytest.raises(UsageError, match="built on variables already; give a new, unbuilt one"):
        build_optimizer(optimizer, tf.distribute.get_strategy(), [keras.Variable([2.0])])
