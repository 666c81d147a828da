"""On any number of replicas, an optimizer's options mean what they mean in plain Keras on one device."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer
from tallyloop.trainer.model.optimizers import grouped, make_optimizer

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


class Collect:
    """An action that keeps the summaries of one split."""

    def __init__(self, split="train"):
        self.split, self.seen = split, []

    def __call__(self, trainer, summary):
        if summary.split == self.split:
            self.seen.append(summary)


def several(rate=0.02):
    """The bias by a step of 0.5, the rest by `rate`."""
    groups = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(rate), {".*/bias": keras.optimizers.SGD(0.5, name="quick")}
    )
    return keras.optimizers.MultiOptimizer(groups)


@pytest.fixture(scope="module")
def mixed(regression_task, rows, mirrored_on):
    """mixed(dtype, replicas, initial scale) -> (optimizer, model) after 40 steps."""

    def run(dtype, replicas, scale):
        class Mixed(regression_task):
            def build_model(self):
                policy = keras.DTypePolicy(dtype)
                hidden = keras.layers.Dense(8, dtype=policy, activation="tanh")
                return keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(1, dtype="float32")])

        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=scale)
        trainer = Trainer(Mixed(), optimizer, mirrored_on(replicas), Input(rows(40), 16, shuffle=False), train_steps=40)
        trainer.train()
        return optimizer, trainer.model

    return run


class TestOptions:
    @pytest.mark.parametrize(
        "replicas", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)]
    )
    @pytest.mark.parametrize("options", OPTIONS)
    def test_act_on_the_reduced_gradient(self, task, make_trainer, weights_of, rows, options, replicas):
        make = OPTIONS[options]
        trainer = make_trainer(task, replicas=replicas, optimizer=make, train_steps=6)
        trainer.train()
        expected = plain_keras(make, 6, rows, task)
        np.testing.assert_allclose(weights_of(trainer), expected, atol=2e-5, rtol=0)
        unclipped = plain_keras(SGD, 6, rows, task)
        assert np.abs(expected - unclipped).max() > 0.01  # the options do something

    def test_clipping_under_a_loss_scale(self, task, make_trainer, weights_of, rows):
        """The norm is that of the gradient without the scale; the reference clips by the optimizer's option."""

        def scaled(**options):
            return keras.optimizers.LossScaleOptimizer(SGD(**options), initial_scale=1024.0)

        trainer = make_trainer(task, replicas=2, optimizer=scaled, train_steps=6, clip_global_norm=0.7)
        trainer.train()
        expected = plain_keras(lambda: SGD(global_clipnorm=0.7), 6, rows, task)
        np.testing.assert_allclose(weights_of(trainer), expected, atol=2e-5, rtol=0)


class TestSchedule:
    def test_counts_updates(self, task, make_trainer, weights_of, rows):
        def decaying():
            return keras.optimizers.SGD(keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.02, 0.001]))

        optimizer = decaying()
        trainer = make_trainer(task, replicas=2, optimizer=optimizer, train_steps=6)
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), plain_keras(decaying, 6, rows, task), atol=2e-5, rtol=0)
        assert int(optimizer.iterations.numpy()) == 6

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_is_a_metric(self, make_trainer, replicas, tmp_path):
        """0.1 * 0.5^(step / 2), at the step that the point is of; also in the files."""
        collect = Collect()
        schedule = lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))  # noqa: E731
        make_trainer(
            optimizer=schedule, replicas=replicas, summary_interval=2, actions=[collect], model_dir=tmp_path
        ).train()
        assert [s.metrics["learning_rate"] for s in collect.seen] == pytest.approx([0.05, 0.025, 0.0125])
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["metrics"]["learning_rate"] for line in lines] == pytest.approx([0.05, 0.025, 0.0125])

    def test_so_is_a_constant_rate(self, make_trainer):
        """Which an action may change: the point shows the rate of the next update."""

        def halve(trainer, summary):
            optimizer.learning_rate = 0.01

        collect, optimizer = Collect(), keras.optimizers.SGD(0.02)
        make_trainer(optimizer=optimizer, actions=[collect, halve], steps_per_loop=2, summary_interval=2).train()
        assert set(collect.seen[0].metrics) == {"loss", "learning_rate"}
        assert [s.metrics["learning_rate"] for s in collect.seen] == pytest.approx([0.02, 0.01, 0.01])

    def test_without_a_config(self, make_trainer):
        class Halving(keras.optimizers.schedules.LearningRateSchedule):
            def __call__(self, step):
                return 0.02 * 0.5 ** tf.cast(step, tf.float32)

        collect = Collect()
        make_trainer(optimizer=lambda: keras.optimizers.SGD(Halving()), train_steps=2, actions=[collect]).train()
        assert collect.seen[0].metrics["learning_rate"] == pytest.approx(0.005)

    def test_of_several_optimizers(self, make_trainer):
        collect = Collect()
        rate = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
        make_trainer(optimizer=lambda: several(rate), actions=[collect]).train()
        (summary,) = collect.seen
        found = {path: rate for path, rate in summary.metrics.items() if path.startswith("learning_rate")}
        assert sorted(found.values()) == pytest.approx([0.025, 0.5])
        assert found["learning_rate/quick"] == pytest.approx(0.5)
        assert len([path for path in found if path.startswith("learning_rate/sgd")]) == 1


class TestSeveralOptimizers:
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_each_has_its_variables(self, make_trainer, weights_of, rows, replicas, tmp_path, gradient_of):
        w = np.zeros(4)
        for step in range(6):
            start = 16 * (step % 3)
            w = w - [0.02, 0.02, 0.02, 0.5] * gradient_of(w, {k: v[start : start + 16] for k, v in rows(40).items()})
        make_trainer(optimizer=several, replicas=replicas, train_steps=3, model_dir=tmp_path).train()
        resumed = make_trainer(optimizer=several(), replicas=replicas, model_dir=tmp_path)
        resumed.train()
        np.testing.assert_allclose(weights_of(resumed), w, rtol=1e-5, atol=1e-5)

    def test_empty_groups(self, regression_task, make_trainer):
        def optimizer():
            groups = {"nothing": keras.optimizers.SGD(0.1, use_ema=True), ".*/unused": keras.optimizers.SGD(0.1)}
            return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.02), groups))

        make_trainer(optimizer=optimizer).train()

        class Unused(regression_task):
            def build_model(self):
                model = super().build_model()
                model.unused = model.add_weight(shape=(2,), name="unused")
                return model

        with pytest.raises(UsageError, match=r"MultiOptimizer's groups"):
            make_trainer(Unused(), optimizer=optimizer).train()


class TestAdopt:
    @pytest.mark.parametrize("where", ["factory", "in scope"])
    def test_made_anywhere(self, task, make_trainer, mirrored_on, weights_of, rows, where):
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

    def test_keeps_the_identity(self, mirrored_on):
        strategy = mirrored_on(2)
        optimizer = SGD()
        assert make_optimizer(optimizer, strategy) is optimizer
        inner = SGD()
        outer = keras.optimizers.LossScaleOptimizer(inner)
        assert make_optimizer(lambda: outer, strategy) is outer
        assert outer.inner_optimizer is inner

    @pytest.mark.parametrize("given", ["sgd", lambda: "sgd", SGD, keras.optimizers.SGD, 0.1])
    def test_refuses_other_things(self, mirrored_on, given):
        if given in (SGD, keras.optimizers.SGD):  # these make one
            assert isinstance(make_optimizer(given, tf.distribute.get_strategy()), keras.optimizers.SGD)
        else:
            with pytest.raises(UsageError, match=r"Trainer.optimizer: expected a Keras optimizer"):
                make_optimizer(given, tf.distribute.get_strategy())

    def test_refuses_a_built_one(self):
        optimizer = SGD()
        optimizer.build([keras.Variable([1.0])])
        with pytest.raises(UsageError, match="built on other variables already; give a new, unbuilt one"):
            make_optimizer(optimizer, tf.distribute.get_strategy())


class TestMixedPrecision:
    @pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
    @pytest.mark.parametrize("replicas", [4, pytest.param(1, marks=pytest.mark.slow)])
    def test_trains_like_float32(self, mixed, replicas, dtype):
        """Variables stay float32; float16 rounds to 2^-11, bfloat16 to 2^-8, in each of 40 steps."""
        tolerance = 0.01 if dtype == "mixed_float16" else 0.08
        _, model = mixed(dtype, replicas, 2.0**8)
        _, plain = mixed("float32", 1, 2.0**8)
        assert {v.dtype for v in model.trainable_variables} == {"float32"}
        for mine, its in zip(model.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(mine, its, atol=tolerance)

    @pytest.mark.parametrize("replicas", [1, 4])
    def test_overflow_lowers_the_scale(self, mixed, replicas, copies_of):
        """The largest float16 is 65504: scaled by 2^24 the mean loss of some 100 overflows, at 2^6 it does not."""
        optimizer, model = mixed("mixed_float16", replicas, 2.0**24)
        assert 2.0**6 <= optimizer.dynamic_scale.numpy() < 2.0**20
        assert all(np.isfinite(weights).all() for weights in model.get_weights())
        for variable in model.variables:
            assert len({copy.tobytes() for copy in copies_of(variable)}) == 1


def test_the_groups_of_a_multi_optimizer_are_found_at_any_depth():
    one, other = several(), several()
    scaled = keras.optimizers.LossScaleOptimizer(other)
    assert grouped({"a": one, "b": scaled, "c": keras.optimizers.Adam()}) == [*one.optimizers, *other.optimizers]
    assert grouped(keras.optimizers.Adam()) == []
