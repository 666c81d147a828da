"""BatchNormalization on several replicas: statistics of all examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import NonFiniteError
from tallyloop.trainer.model.batch_norm import make_exact


def norm(**arguments):
    return lambda: keras.layers.BatchNormalization(momentum=0.9, **arguments)


def shares(n, replicas):
    return [(n * r // replicas, n * (r + 1) // replicas) for r in range(replicas)]


class TestStatistics:
    @pytest.mark.parametrize("jit_compile", [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_weighted_by_examples(self, make_trainer, rows, jit_compile, copies_of, layered):
        """One batch of 5 on 4 replicas with shares of 1, 1, 1, 2; then one of 2: two replicas have none."""
        trainer = make_trainer(layered(norm()), data=7, batch=5, replicas=4, train_steps=2, jit_compile=jit_compile)
        trainer.train()
        mean, variance = np.zeros(3), np.ones(3)
        for batch in (rows(7)["x"][:5], rows(7)["x"][5:]):
            parts = [batch[a:b].astype(np.float64) for a, b in shares(len(batch), 4) if b > a]
            weights = [len(part) / len(batch) for part in parts]
            mean = 0.9 * mean + 0.1 * sum(w * part.mean(0) for w, part in zip(weights, parts, strict=True))
            variance = 0.9 * variance + 0.1 * sum(w * part.var(0) for w, part in zip(weights, parts, strict=True))
        layer = trainer.model.layers[0]
        for variable, wanted in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            copies = copies_of(variable)
            assert len(copies) == 4
            for copy in copies:
                np.testing.assert_allclose(copy, wanted, rtol=1e-5, atol=1e-6)
        assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)

    def test_finite_with_empty_replicas(self, regression_task, make_trainer):
        class Normed(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])

        trainer = make_trainer(Normed(), data=17, replicas=4, train_steps=4, evaluate=True)
        assert np.isfinite(trainer.train_and_eval()["test"]["loss"])
        for weight in trainer.model.weights:
            assert np.isfinite(weight.numpy()).all(), weight.path

    def test_unspoilt_by_a_nan(self, make_trainer, rows, tmp_path, layered):
        data = rows(32)
        data["x"][2] = np.nan
        trainer = make_trainer(layered(norm()), data=data, train_steps=4, gradient_accumulation=2, steps_per_loop=1)
        with pytest.raises(RuntimeError, match="Steps 1 to 2: not finite"):
            trainer.train()
        assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)

    def test_those_before_the_bad_step(self, regression_task, make_trainer, rows):
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


class TestSynchronized:
    @pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("n", [pytest.param(103, marks=pytest.mark.slow), 97])
    def test_trains_as_on_one_device(self, make_trainer, weights_of, n, replicas, copies_of, layered):
        """97 = 6 * 16 + 1: with 4 replicas, three have no example of the last batch."""

        def trained(replicas):
            dense = lambda: keras.layers.Dense(5, use_bias=False, activation="tanh")  # noqa: E731
            keras.utils.set_random_seed(3)
            trainer = make_trainer(layered(dense, norm(synchronized=True)), data=n, replicas=replicas, train_steps=14)
            trainer.train()
            return trainer

        one, several = trained(1), trained(replicas)
        np.testing.assert_allclose(weights_of(several), weights_of(one), atol=2e-5)
        for mine, its in zip(several.model.non_trainable_variables, one.model.non_trainable_variables, strict=True):
            for copy in copies_of(mine):
                np.testing.assert_allclose(copy, its.numpy(), rtol=1e-5, atol=1e-6)

    def test_takes_a_mask(self, regression_task, make_trainer, rows):
        class Masked(regression_task):
            def build_model(self):
                inputs = keras.Input((3, 1))
                self.norm = keras.layers.BatchNormalization(synchronized=True, momentum=0.0)
                return keras.Model(inputs, keras.layers.Dense(1)(self.norm(keras.layers.Masking()(inputs))))

            def loss(self, model, batch, training):
                return tf.reduce_sum(model(batch["x"][..., tf.newaxis], training=training), [1, 2]) ** 2

        data = rows(16)
        data["x"] = np.where(np.arange(48).reshape(16, 3) % 5 < 2, np.float32(0), data["x"])  # masked: those of value 0
        task = Masked()
        trainer = make_trainer(task, data=data, replicas=2, train_steps=1)
        trainer.train()
        kept = data["x"][data["x"] != 0].astype(np.float64)
        np.testing.assert_allclose(task.norm.moving_mean.numpy(), [kept.mean()], rtol=1e-5)
        np.testing.assert_allclose(task.norm.moving_variance.numpy(), [kept.var()], rtol=1e-5)
        alone = make_trainer(Masked(), data=data, train_steps=1)
        alone.train()
        for mine, its in zip(trainer.model.weights, alone.model.weights, strict=True):
            np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-5, atol=1e-6)

    def test_refused_with_xla(self, make_trainer, layered):
        trainer = make_trainer(layered(norm(synchronized=True)), replicas=2, jit_compile=True)
        with pytest.raises(UsageError, match=r"Trainer.jit_compile = True.*synchronized=True.*batch_normalization"):
            trainer.train()


class TestGradient:
    """Of the moments, beside TensorFlow's own of a mean and a mean of squares."""

    @pytest.fixture
    def layer(self):
        layer = keras.layers.BatchNormalization(synchronized=True)
        model = keras.Sequential([keras.Input((5, 3)), layer])
        make_exact(model, communicates=False, compiled=False)
        return layer

    @pytest.mark.parametrize("masked", [False, True])
    def test_first_and_second_order(self, layer, masked):
        x = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 3)), tf.float32)
        mask = tf.constant(np.random.default_rng(1).random((4, 5)) < 0.7) if masked else None
        weights = tf.cast(tf.ones([4, 5]) if mask is None else mask, tf.float32)[..., tf.newaxis]

        def plain(x, mask):
            mean = tf.reduce_sum(weights * x, [0, 1]) / tf.reduce_sum(weights)
            return mean, tf.reduce_sum(weights * (x - mean) ** 2, [0, 1]) / tf.reduce_sum(weights)

        @tf.function(autograph=False)
        def gradients(moments):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    mean, variance = moments(x, mask)
                    value = tf.reduce_sum(tf.sin(mean) + tf.exp(0.1 * variance) + mean * variance)
                first = inner.gradient(value, x)
                penalty = tf.reduce_sum(first**2)
            return first, outer.gradient(penalty, x)

        for found, wanted in zip(gradients(layer._moments), gradients(plain), strict=True):
            assert np.abs(wanted).max() > 1e-3
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


class TestPrecision:
    def test_moments_of_images(self):
        """One float32 sum over the 200,704 pixels of a channel would be off in the fifth digit."""
        model = keras.Sequential([keras.Input((56, 56, 3)), keras.layers.BatchNormalization(synchronized=True)])
        make_exact(model, communicates=False, compiled=False)
        images = np.random.default_rng(0).uniform(0, 255, (64, 56, 56, 3)).astype(np.float32)
        mean, variance = model.layers[0]._moments(tf.constant(images), None)
        np.testing.assert_allclose(mean, images.mean((0, 1, 2), dtype=np.float64), rtol=3e-7)
        np.testing.assert_allclose(variance, images.astype(np.float64).var((0, 1, 2)), rtol=3e-7)
