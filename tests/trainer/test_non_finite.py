"""What happens at a loss or gradient that is NaN or infinite."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.trainer import NonFiniteError


@pytest.fixture(scope="module")
def bad_rows(rows):
    """48 rows, three batches of 16; `rows(row, value)` puts a bad label at `row`."""

    def make(row, value=np.nan):
        data = rows(48)
        data["y"][row] = value
        return data

    return make


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_non_finite_loss_stops_before_the_update(make_trainer, weights_of, rows, bad_rows, value):
    """Row 45 is in the third batch, in the second replica's half."""
    trainer = make_trainer(data=bad_rows(45, value), replicas=2, train_steps=9)
    with pytest.raises(NonFiniteError, match=r"Step 3: not finite: loss on replica \[1\].* after step 2\b"):
        trainer.train()
    assert trainer.step == 2
    clean = make_trainer(data=48, replicas=2, train_steps=2)
    clean.train()
    np.testing.assert_array_equal(weights_of(trainer), weights_of(clean))


def test_a_non_finite_metric_is_named_beside_the_loss(regression_task, make_trainer, bad_rows):
    class Shown(regression_task):
        def loss(self, model, batch, training):
            with metrics.scope("seen"):
                metrics.add("y", batch["y"])
                metrics.add("x", batch["x"])
            return super().loss(model, batch, training)

    with pytest.raises(NonFiniteError, match=r"Step 1: not finite: loss on replica \[0\], seen/y on replica \[0\]"):
        make_trainer(Shown(), data=bad_rows(2), replicas=2).train()


class Root(keras.layers.Layer):
    """sqrt(w x): at x = 0 the value is 0 and finite, the gradient is not."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(3,), initializer="ones", name="w")

    def call(self, inputs):
        return tf.reduce_sum(tf.sqrt(inputs * self.w), -1)


@pytest.fixture(scope="module")
def rooted(regression_task):
    class Rooted(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), Root()])

        def loss(self, model, batch, training):
            return model(batch["x"], training=training)

    return Rooted()


def rows_with_a_zero(row):
    data = {"x": np.ones([32, 3], np.float32)}
    data["x"][row, 1] = 0
    return data


def test_a_non_finite_gradient_of_a_finite_loss_stops_too(rooted, make_trainer, weights_of):
    trainer = make_trainer(rooted, data=rows_with_a_zero(30), replicas=2)
    with pytest.raises(NonFiniteError, match="Step 2: not finite: a gradient"):
        trainer.train()
    # One step of d/dw mean(sum sqrt(w)) = 1/2 each, rate 0.02.
    np.testing.assert_allclose(weights_of(trainer), np.full(3, 1 - 0.02 / 2), atol=1e-6)


@pytest.mark.parametrize("row", [2, 12])
def test_the_loss_scale_is_halved_wherever_the_overflow_is(rooted, make_trainer, weights_of, row):
    """In TensorFlow's own loop only the first replica is asked, and the second one's Inf is applied."""
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.02), initial_scale=1024.0)
    trainer = make_trainer(rooted, data=rows_with_a_zero(row), replicas=2, optimizer=optimizer, train_steps=2)
    trainer.train()
    # The first batch overflows and is skipped; the second one is applied.
    assert float(optimizer.dynamic_scale.numpy()) == 512.0
    np.testing.assert_allclose(weights_of(trainer), np.full(3, 1 - 0.02 / 2), atol=1e-6)


def test_moving_averages_are_those_before_the_step_too(regression_task, make_trainer, rows):
    class Normed(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])

    data = rows(32)
    data["x"][20] = np.nan
    trainer = make_trainer(Normed(), data=data, train_steps=4)
    with pytest.raises(NonFiniteError, match="Step 2"):
        trainer.train()
    clean = make_trainer(Normed(), data=rows(32), train_steps=1)
    clean.train()
    for stopped, wanted in zip(trainer.model.weights, clean.model.weights, strict=True):
        np.testing.assert_array_equal(stopped.numpy(), wanted.numpy(), err_msg=stopped.path)


def test_among_accumulated_steps_the_one_that_was_not_finite_is_named(make_trainer, weights_of, bad_rows):
    """Steps 4, 5 and 6 make the second update; the NaN is in step 5."""
    trainer = make_trainer(data=bad_rows(4 * 8 + 1), batch=8, train_steps=9, gradient_accumulation=3)
    with pytest.raises(NonFiniteError, match=r"Step(s 4 to 6| 5)\b.*: loss on replica"):
        trainer.train()
    clean = make_trainer(data=48, batch=8, train_steps=3, gradient_accumulation=3)
    clean.train()
    np.testing.assert_array_equal(weights_of(trainer), weights_of(clean))


def test_a_non_finite_metric_alone_does_not_stop_a_run(regression_task, make_trainer):
    class Shown(regression_task):
        def loss(self, model, batch, training):
            metrics.add("bad", batch["y"] * np.inf)
            return super().loss(model, batch, training)

    seen = []
    action = lambda _, summary: seen.append(summary.metrics["bad"])  # noqa: E731
    make_trainer(Shown(), train_steps=2, evaluate=True, actions=[action]).train_and_eval()
    assert len(seen) == 2
    assert not np.isfinite(seen).any()
