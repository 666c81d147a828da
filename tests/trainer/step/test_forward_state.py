"""Counters, seeds and the state of layers: the same on all replicas after each step, whatever their shares."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer


def norm(**arguments):
    return lambda: keras.layers.BatchNormalization(momentum=0.9, **arguments)


def masks(regression_task, make_trainer, replicas, steps=2, **arguments):
    """The masks (8 rows, 3) of each step, and the trainer."""

    class Masks(regression_task):
        def build_model(self):
            self.dropout = keras.layers.Dropout(0.5, seed=7)
            return keras.Sequential([keras.Input((3,)), self.dropout, keras.layers.Dense(1)])

        def loss(self, model, batch, training):
            kept = self.dropout(tf.ones_like(batch["x"]), training=training)
            return model(batch["x"])[:, 0], kept

        metrics = {  # noqa: RUF012
            "kept": (lambda batch, kept: (tf.transpose(tf.one_hot(batch["row"], 8)) @ kept, 1.0), "sum")
        }

    data = {"x": np.ones([8, 3], np.float32), "row": np.arange(8)}
    seen = []
    trainer = make_trainer(
        Masks(),
        data=data,
        batch=8,
        replicas=replicas,
        train_steps=steps,
        summary_interval=1,
        actions=[lambda _, summary: seen.append(np.asarray(summary.metrics["kept"]))],
        **arguments,
    )
    trainer.train()
    return np.array(seen), trainer


class Counts(keras.layers.Layer):
    """Counts examples and calls."""

    def build(self, _):
        self.examples = self.add_weight(
            shape=(), dtype="int64", trainable=False, initializer="zeros", aggregation="sum"
        )
        self.calls = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros")

    def call(self, x, training=False):
        if training:
            self.examples.assign_add(tf.shape(x, tf.int64)[0])
            self.calls.assign_add(1)
        return x


class TestSeeds:
    @pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_replicas_drop_others(self, regression_task, make_trainer, jit_compile, copies_of):
        ones, _ = masks(regression_task, make_trainer, 1, jit_compile=jit_compile)
        found, trainer = masks(regression_task, make_trainer, 4, jit_compile=jit_compile)
        assert found.shape == (2, 8, 3)
        assert not np.array_equal(found[0], found[1])
        pieces = found.reshape(2, 4, 2, 3)
        assert len({piece.tobytes() for piece in pieces.reshape(8, 6)}) > 6  # all differ, but by chance
        if not jit_compile:
            layer = keras.layers.Dropout(0.5, seed=7)
            np.testing.assert_array_equal(found[0][:2], layer(tf.ones([2, 3]), training=True))
            np.testing.assert_array_equal(ones[0], keras.layers.Dropout(0.5, seed=7)(tf.ones([8, 3]), training=True))
        (seed,) = [v for v in trainer.model.variables if "seed" in v.name]
        assert [list(copy) for copy in copies_of(seed)] == [[7, 2]] * 4

    def test_rerun_drops_the_same(self, regression_task, make_trainer, tmp_path):
        whole, _ = masks(regression_task, make_trainer, 2, steps=4)
        first, _ = masks(regression_task, make_trainer, 2, steps=2, model_dir=tmp_path)
        second, _ = masks(regression_task, make_trainer, 2, steps=4, model_dir=tmp_path)
        np.testing.assert_array_equal(np.concatenate([first, second]), whole)

    def test_generator_outside_the_model(self, regression_task, make_trainer, tmp_path):
        class Noisy(regression_task):
            def __init__(self):
                self.seed = keras.random.SeedGenerator(3)

            def loss(self, model, batch, training):
                metrics.add("noise", keras.random.normal((), seed=self.seed))
                return super().loss(model, batch, training)

        def noise(steps, **arguments):
            seen = []
            actions = [lambda _, summary: seen.append(summary.metrics["noise"])]
            make_trainer(Noisy(), train_steps=steps, summary_interval=1, actions=actions, **arguments).train()
            return seen

        whole = noise(4)
        assert len(set(whole)) == 4
        assert noise(2, model_dir=tmp_path) + noise(4, model_dir=tmp_path) == whole

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_refused_without_one(self, regression_task, make_trainer, replicas):
        class Noisy(regression_task):
            def loss(self, model, batch, training):
                return super().loss(model, batch, training) + keras.random.normal(())

        with pytest.raises(UsageError, match=r"without a seed.*keras.random.SeedGenerator"):
            make_trainer(Noisy(), replicas=replicas).train()

    @pytest.mark.parametrize("replicas", [2, pytest.param(1, marks=pytest.mark.slow)])
    def test_inside_a_loop(self, regression_task, rows, mirrored_on, replicas, copies_of):
        class Recurrent(regression_task):
            def build_model(self):
                cell = keras.layers.LSTMCell(4, dropout=0.5, recurrent_dropout=0.5)
                each = keras.layers.TimeDistributed(keras.layers.Dropout(0.5))
                return keras.Sequential(
                    [keras.Input((3, 1)), each, keras.layers.RNN(cell), norm()(), keras.layers.Dense(1)]
                )

            def loss(self, model, batch, training):
                return (model(batch["x"][..., tf.newaxis], training=training)[:, 0] - batch["y"]) ** 2

        trainer = Trainer(
            Recurrent(),
            keras.optimizers.SGD(0.01),
            mirrored_on(replicas),
            Input(rows(24), 16, shuffle=False),
            train_steps=4,
        )
        trainer.train()
        assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)
        for variable in trainer.model.variables:
            assert len({copy.tobytes() for copy in copies_of(variable)}) == 1, variable.path

    @pytest.mark.parametrize("layer", [keras.layers.Dropout, None])
    def test_rematerialised_layer(self, regression_task, make_trainer, weights_of, layer):
        from tallyloop.models import InvariantDropout

        class Remat(regression_task):
            def __init__(self, remat):
                self.remat = remat

            def build_model(self):
                self.drop = (layer or InvariantDropout)(0.5, seed=4)
                return keras.Sequential([keras.Input((3,)), keras.layers.Dense(6), self.drop, keras.layers.Dense(1)])

            def loss(self, model, batch, training):
                first, _, last = model.layers
                call = lambda x: self.drop(x, training=training)  # noqa: E731
                hidden = (keras.remat(call) if self.remat else call)(first(batch["x"]))
                return (last(hidden)[:, 0] - batch["y"]) ** 2

        def trained(remat):
            keras.utils.set_random_seed(0)
            trainer = make_trainer(Remat(remat), data=32, replicas=2, train_steps=4)
            trainer.train()
            return weights_of(trainer)

        np.testing.assert_allclose(trained(True), trained(False), atol=1e-5)

    def test_reports_other_replicas(self, make_trainer, tmp_path, caplog, layered):
        def run(folder, replicas, steps, *layers):
            caplog.clear()
            task = layered(*layers)
            make_trainer(task, replicas=replicas, train_steps=steps, model_dir=tmp_path / folder).train()
            return caplog.text

        run("dropout", 2, 2, lambda: keras.layers.Dropout(0.5, name="drop"), norm(name="norm"))
        said = run("dropout", 1, 4, lambda: keras.layers.Dropout(0.5, name="drop"), norm(name="norm"))
        assert "The checkpoint was written by 2 replicas, and there are 1:" in said
        assert "drop, " in said
        assert "norm" in said
        run("plain", 2, 2, norm(synchronized=True))
        assert "replicas" not in run("plain", 1, 4, norm(synchronized=True))


class TestLayerState:
    @pytest.mark.parametrize("replicas", [1, 4])
    def test_counters(self, make_trainer, replicas, copies_of, layered):
        """17 rows in batches of 16: on 4 replicas, three borrow an example of the last batch, which is not counted."""
        trainer = make_trainer(layered(Counts), data=17, replicas=replicas, train_steps=4)
        trainer.train()
        layer = trainer.model.layers[0]
        assert [int(copy) for copy in copies_of(layer.examples)] == [34] * replicas
        assert [int(copy) for copy in copies_of(layer.calls)] == [4] * replicas

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_unchanged_by_a_nan(self, make_trainer, rows, replicas, layered):
        data = rows(32)
        data["x"][20] = np.nan
        trainer = make_trainer(
            layered(norm(), lambda: keras.layers.Dropout(0.5)), data=data, replicas=replicas, train_steps=2
        )
        clean = make_trainer(
            layered(norm(), lambda: keras.layers.Dropout(0.5)),
            data=rows(32),
            replicas=replicas,
            train_steps=1,
        )
        clean.train()
        with pytest.raises(RuntimeError, match="Step 2: not finite"):
            trainer.train()
        for mine, its in zip(trainer.model.non_trainable_variables, clean.model.non_trainable_variables, strict=True):
            np.testing.assert_array_equal(mine.numpy(), its.numpy())

    def test_unchanged_by_evaluating(self, regression_task, make_trainer, rows):
        class Sampling(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), norm()(), keras.layers.Dropout(0.5), keras.layers.Dense(1)])

            def eval_step(self, model, batch):
                return self.loss(model, batch, training=True)

        trainer = make_trainer(Sampling(), replicas=2, evaluate=True)
        before = [v.numpy() for v in trainer.model.variables]
        assert trainer.evaluate() == trainer.evaluate()
        for variable, value in zip(trainer.model.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)

    @pytest.mark.parametrize("add", [lambda mean, x: mean.update_state(x), lambda mean, x: metrics.add("m", mean(x))])
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_of_a_keras_metric_is_refused(self, make_trainer, layered, add, replicas):
        class Counting(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.mean = keras.metrics.Mean(name="activation")

            def call(self, x):
                add(self.mean, x)
                return x

        expected = r"the Keras metric 'activation' \(Mean\) is updated inside a step.*metrics.add"
        with pytest.raises(UsageError, match=expected) as caught:
            make_trainer(layered(Counting), replicas=replicas).train()
        assert str(caught.value).startswith(f"{__file__}:{add.__code__.co_firstlineno}, in <lambda>: the Keras metric")

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_passes_no_gradient_on(self, make_trainer, regression_task, replicas):
        """As with `fit`: who reads an assigned variable reads a constant. Of w x + (w x) at x = 1, the slope is 1, not 2."""

        class Remembers(keras.layers.Layer):
            def build(self, _):
                self.w = self.add_weight(shape=(), initializer=keras.initializers.Constant(3.0))
                self.seen = self.add_weight(shape=(), trainable=False, initializer="zeros")

            def call(self, x):
                self.seen.assign(tf.reduce_mean(self.w * x))
                return self.w * x + self.seen

        class Remembering(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((1,)), Remembers()])

            def loss(self, model, batch, training):
                return model(batch["x"], training=training)[:, 0]

        trainer = make_trainer(
            Remembering(),
            data={"x": np.ones([16, 1], np.float32)},
            replicas=replicas,
            train_steps=1,
            optimizer=lambda: keras.optimizers.SGD(1.0),
        )
        trainer.train()
        assert [float(v.numpy()) for v in trainer.model.weights] == [2.0, 3.0]  # w, and what was seen

    def test_of_each_replica_may_differ(self, make_trainer, layered):
        """As that of a Keras metric does, which is refused for its own sake."""

        class Counts(keras.layers.Layer):
            def build(self, _):
                kind = {"trainable": False, "synchronization": "on_read", "aggregation": "sum"}
                self.calls = keras.Variable(0, dtype="int32", name="calls", **kind)

            def call(self, x):
                self.calls.assign(self.calls + 1)
                return x

        trainer = make_trainer(layered(Counts), train_steps=3)
        trainer.train()
        assert int(trainer.model.layers[0].calls.value.read_value()) == 3

    def test_spectral_normalization(self, make_trainer, layered):
        """It assigns its kernel in the forward pass; the update must come after that, on any number of replicas."""

        def trained(replicas):
            layer = lambda: keras.layers.SpectralNormalization(keras.layers.Dense(4, use_bias=False))  # noqa: E731
            keras.utils.set_random_seed(2)
            trainer = make_trainer(layered(layer), data=32, replicas=replicas, train_steps=30)
            first = trainer.model.layers[0].layer.kernel.numpy()
            trainer.train()
            last = trainer.model.layers[0].layer.kernel.numpy()
            return first / np.linalg.norm(first), last / np.linalg.norm(last)

        first, last = trained(1)
        assert np.abs(last - first).max() > 0.1
        np.testing.assert_allclose(trained(2)[1], last, atol=1e-5)

    def test_model_held_by_the_task(self, regression_task, make_trainer, tmp_path):
        """A mean teacher, of no model, that evaluates."""

        class Taught(regression_task):
            def build_model(self):
                self.teacher = super().build_model()
                return super().build_model()

            def train_step(self, model, batch):
                for mine, its in zip(self.teacher.weights, model.weights, strict=True):
                    mine.assign(0.5 * mine + 0.5 * its)
                return self.loss(model, batch, training=True)

            def eval_step(self, model, batch):
                return self.loss(self.teacher, batch, training=False)

        trained = make_trainer(Taught(), evaluate=True, model_dir=tmp_path)
        found = trained.train_and_eval()
        assert make_trainer(Taught(), evaluate=True, model_dir=tmp_path).evaluate() == found
        assert found["test"]["loss"] != make_trainer(Taught(), evaluate=True).evaluate()["test"]["loss"]
