"""What a real training needs: schedules, averages, several optimizers, freezing, first weights, determinism."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer


class Collect:
    """An action that keeps the summaries of one split."""

    def __init__(self, split="train"):
        self.split, self.seen = split, []

    def __call__(self, trainer, summary):
        if summary.split == self.split:
            self.seen.append(summary)


def gradient_of(w, batch):
    """d/dw of the mean of (x w + b - y)^2; w is (w_1, w_2, w_3, b)."""
    x = np.concatenate([batch["x"], np.ones([len(batch["x"]), 1])], 1).astype(np.float64)
    return 2 * (x @ w - batch["y"]) @ x / len(x)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_schedule_is_written_as_a_metric(make_trainer, replicas, tmp_path):
    """0.1 * 0.5^(step / 2), at the step that the point is of; also in the files."""
    collect = Collect()
    schedule = lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5))  # noqa: E731
    make_trainer(
        optimizer=schedule, replicas=replicas, summary_interval=2, actions=[collect], model_dir=tmp_path
    ).train()
    assert [s.metrics["learning_rate"] for s in collect.seen] == pytest.approx([0.05, 0.025, 0.0125])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["metrics"]["learning_rate"] for line in lines] == pytest.approx([0.05, 0.025, 0.0125])


def test_a_constant_rate_is_no_metric(make_trainer):
    collect = Collect()
    make_trainer(actions=[collect]).train()
    assert set(collect.seen[0].metrics) == {"loss"}


class TestAverages:
    """`use_ema=True`: the averages evaluate, predict and are exported; training goes on with the weights."""

    def optimizer(self):
        return keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=0.8)

    def numpy(self, rows, steps):
        """(weights, averages) after `steps` of batches of 16 of 40 rows."""
        w, average = np.zeros(4), None
        for step in range(steps):
            start = 16 * (step % 3)
            w = w - 0.02 * gradient_of(w, {k: v[start : start + 16] for k, v in rows(40).items()})
            average = w if average is None else 0.8 * average + 0.2 * w
        return w, average

    def loss(self, rows, w):
        data = rows(40)
        return np.mean((data["x"] @ w[:3] + w[3] - data["y"]) ** 2)

    @pytest.mark.parametrize("replicas", [1, 4])
    def test_while_training_and_after(self, make_trainer, weights_of, rows, tmp_path, replicas):
        collect = Collect("eval")
        arguments = {"optimizer": self.optimizer, "replicas": replicas, "evaluate": True, "model_dir": tmp_path}
        trainer = make_trainer(eval_interval=4, actions=[collect], **arguments)
        trainer.train_and_eval()
        losses = [self.loss(rows, self.numpy(rows, steps)[1]) for steps in (4, 6)]
        assert [s.metrics["loss"] for s in collect.seen] == pytest.approx(losses, rel=1e-5)
        assert trainer.evaluate() == {"test": {"loss": pytest.approx(losses[1], rel=1e-5)}}
        np.testing.assert_allclose(weights_of(trainer), self.numpy(rows, 6)[0], atol=1e-5)
        # A Trainer that only evaluates takes the averages from the checkpoint.
        fresh = make_trainer(**arguments)
        assert fresh.evaluate() == {"test": {"loss": pytest.approx(losses[1], rel=1e-5)}}
        exported = keras.models.load_model(fresh.export(tmp_path / "out") / "model.keras")
        np.testing.assert_allclose(
            np.concatenate([w.ravel() for w in exported.get_weights()]), self.numpy(rows, 6)[1], atol=1e-5
        )

    def test_averages_that_are_not_used_are_told(self, make_trainer, rows, tmp_path, caplog):
        make_trainer(optimizer=self.optimizer, model_dir=tmp_path).train()
        make_trainer(optimizer=self.optimizer, evaluate=True, model_dir=tmp_path).evaluate()
        assert "they are not used" not in caplog.text
        found = make_trainer(optimizer=None, evaluate=True, model_dir=tmp_path).evaluate()
        assert "ckpt-6 has averages of the weights, and they are not used" in caplog.text
        assert found["test"]["loss"] == pytest.approx(self.loss(rows, self.numpy(rows, 6)[0]), rel=1e-5)

    def test_before_the_first_step_there_are_none(self, make_trainer, rows):
        trainer = make_trainer(optimizer=self.optimizer, evaluate=True)
        assert trainer.evaluate()["test"]["loss"] == pytest.approx(self.loss(rows, np.zeros(4)), rel=1e-5)

    def test_an_older_checkpoint_is_evaluated_and_training_goes_on(self, make_trainer, rows, weights_of, tmp_path):
        trainer = make_trainer(
            optimizer=self.optimizer, evaluate=True, checkpoint_interval=4, model_dir=tmp_path, train_steps=6
        )
        trainer.train()
        older = trainer.evaluate(str(tmp_path / "checkpoints" / "ckpt-4"))
        assert older["test"]["loss"] == pytest.approx(self.loss(rows, self.numpy(rows, 4)[1]), rel=1e-5)
        np.testing.assert_allclose(weights_of(trainer), self.numpy(rows, 6)[0], atol=1e-5)
        assert trainer.evaluate()["test"]["loss"] == pytest.approx(self.loss(rows, self.numpy(rows, 6)[1]), rel=1e-5)


def several(rate=0.02):
    """The bias by a step of 0.5, the rest by `rate`."""
    groups = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(rate), {".*/bias": keras.optimizers.SGD(0.5, name="quick")}
    )
    return keras.optimizers.MultiOptimizer(groups)


@pytest.mark.parametrize("replicas", [1, 2])
def test_several_optimizers(make_trainer, weights_of, rows, replicas, tmp_path):
    w = np.zeros(4)
    for step in range(6):
        start = 16 * (step % 3)
        w = w - [0.02, 0.02, 0.02, 0.5] * gradient_of(w, {k: v[start : start + 16] for k, v in rows(40).items()})
    make_trainer(optimizer=several, replicas=replicas, train_steps=3, model_dir=tmp_path).train()
    resumed = make_trainer(optimizer=several(), replicas=replicas, model_dir=tmp_path)
    resumed.train()
    np.testing.assert_allclose(weights_of(resumed), w, rtol=1e-5, atol=1e-5)


def test_several_optimizers_write_their_schedules(make_trainer):
    collect = Collect()
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    make_trainer(optimizer=lambda: several(rate), actions=[collect]).train()
    (summary,) = collect.seen
    (path,) = [path for path in summary.metrics if path.startswith("learning_rate/")]
    assert path.startswith("learning_rate/sgd")
    assert summary.metrics[path] == pytest.approx(0.025)


class TwoLayers:
    @pytest.fixture
    def task(self, regression_task):
        class Named(regression_task):
            def build_model(self):
                return keras.Sequential(
                    [
                        keras.Input((3,)),
                        keras.layers.Dense(4, name="encoder", activation="tanh"),
                        keras.layers.BatchNormalization(name="encoder_norm"),
                        keras.layers.Dense(1, name="head"),
                    ],
                    name="net",
                )

        return Named()


class TestFreezing(TwoLayers):
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_frozen_layers_stay_as_they_are(self, task, make_trainer, replicas):
        """A frozen BatchNormalization keeps its statistics too, as in Keras."""
        trainer = make_trainer(task, replicas=replicas, freeze=["encoder"])
        before = {v.path: v.numpy() for v in trainer.model.weights}
        trainer.train()
        changed = {v.path for v in trainer.model.weights if not np.array_equal(v.numpy(), before[v.path])}
        assert changed == {"net/head/kernel", "net/head/bias"}

    def test_a_pattern_that_matches_nothing(self, task, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.freeze: 'decoder' matches no layer: there are .*encoder"):
            make_trainer(task, freeze=["decoder"]).train()

    def test_everything_frozen(self, task, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.freeze .* leaves no variable to train"):
            make_trainer(task, freeze=["encoder", "head"]).train()


class TestInitialWeights(TwoLayers):
    @pytest.fixture
    def trained(self, task, make_trainer, tmp_path):
        """(its weights by path, its newest checkpoint, its .keras file)."""
        trainer = make_trainer(task, model_dir=tmp_path / "before")
        trainer.train()
        weights = {v.path: v.numpy() for v in trainer.model.weights}
        checkpoint = tf.train.latest_checkpoint(str(tmp_path / "before" / "checkpoints"))
        return weights, checkpoint, str(trainer.export() / "model.keras")

    @pytest.mark.parametrize("kind", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_all_are_loaded(self, task, make_trainer, trained, replicas, kind, caplog):
        trainer = make_trainer(task, replicas=replicas, initial_weights=trained[kind], train_steps=3)
        with caplog.at_level(logging.WARNING):
            trainer.prepare(evaluate=False)
        for variable in trainer.model.weights:
            np.testing.assert_array_equal(variable.numpy(), trained[0][variable.path])
        assert "8 of the model's 8 variables come from" in caplog.text
        assert trainer.step == 0

    def test_names_are_mapped_and_what_does_not_fit_is_said(self, regression_task, make_trainer, trained, caplog):
        class Other(regression_task):
            def build_model(self):
                layers = [
                    keras.layers.Dense(4, name="body"),
                    keras.layers.Dense(2, name="head"),
                    keras.layers.Dense(1, name="new"),
                ]
                return keras.Sequential([keras.Input((3,)), *layers], name="other")

        trainer = make_trainer(Other(), initial_weights=trained[1], initial_weights_map={"encoder/": "body/"})
        with caplog.at_level(logging.WARNING):
            trainer.prepare(evaluate=False)
        np.testing.assert_array_equal(trainer.model.layers[0].kernel.numpy(), trained[0]["net/encoder/kernel"])
        assert "2 of the model's 6 variables come from" in caplog.text
        assert "not in it, so as initialised: other/new/kernel, other/new/bias." in caplog.text
        assert "of another shape, so as initialised: other/head/kernel (has (4, 1), wanted (4, 2))" in caplog.text
        assert "in it and not used: net/encoder_norm/" in caplog.text

    def test_a_run_that_continues_does_not_look_at_it(self, task, make_trainer, trained, tmp_path, weights_of):
        make_trainer(task, train_steps=2, model_dir=tmp_path / "b", seed=1).train()
        whole = make_trainer(task, train_steps=4, seed=1)
        whole.train()
        resumed = make_trainer(task, train_steps=4, model_dir=tmp_path / "b", initial_weights=trained[1], seed=1)
        resumed.train()
        np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))

    def test_nothing_fits(self, regression_task, make_trainer, trained):
        with pytest.raises(
            UsageError, match=r"nothing in it fits the model. It has net/encoder.*Trainer.initial_weights_map"
        ):
            make_trainer(regression_task(), initial_weights=trained[1]).train()

    @pytest.mark.parametrize("name", ["none", "none.keras", "text.keras"])
    def test_what_cannot_be_read(self, make_trainer, tmp_path, name):
        (tmp_path / "text.keras").write_text("hello")
        with pytest.raises(UsageError, match=name):
            make_trainer(initial_weights=str(tmp_path / name)).train()

    def test_two_names_become_one(self, task, make_trainer, trained):
        with pytest.raises(UsageError, match=r"Trainer.initial_weights_map gives two variables the name 'all'"):
            make_trainer(task, initial_weights=trained[1], initial_weights_map={".*bias": "all"}).train()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"freeze": "encoder"}, r"Trainer.freeze = 'encoder': wanted a list"),
        ({"freeze": ["("]}, r"Trainer.freeze: '\(' is no regular expression"),
        ({"initial_weights_map": ["a"]}, r"Trainer.initial_weights_map = \['a'\]: wanted a dict"),
        ({"deterministic": "yes"}, r"Trainer.deterministic = 'yes': expected True or False"),
        ({"deterministic": True, "seed": None}, r"Trainer.deterministic = True needs a seed"),
    ],
)
def test_wrong_arguments(make_trainer, arguments, message):
    with pytest.raises(UsageError, match=message):
        make_trainer(**arguments)


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
        trainer = Trainer(Mixed(), optimizer, mirrored_on(replicas), Input(rows(40), 16), train_steps=40)
        trainer.train()
        return optimizer, trainer.model

    return run


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_mixed_precision(mixed, replicas, dtype):
    """Variables stay float32; float16 rounds to 2^-11, bfloat16 to 2^-8, in each of 40 steps."""
    tolerance = 0.01 if dtype == "mixed_float16" else 0.08
    _, model = mixed(dtype, replicas, 2.0**8)
    _, plain = mixed("float32", 1, 2.0**8)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    for mine, its in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mine, its, atol=tolerance)


@pytest.mark.parametrize("replicas", [1, 4])
def test_a_loss_scale_that_overflows_is_lowered_for_all_replicas(mixed, replicas):
    """The largest float16 is 65504: scaled by 2^24 the mean loss of some 100 overflows, at 2^6 it does not."""
    optimizer, model = mixed("mixed_float16", replicas, 2.0**24)
    assert 2.0**6 <= optimizer.dynamic_scale.numpy() < 2.0**20
    assert all(np.isfinite(weights).all() for weights in model.get_weights())
    for variable in model.variables:
        copies = getattr(variable.value, "values", [variable.value])
        assert len({copy.numpy().tobytes() for copy in copies}) == 1


def test_first_weights_are_evaluated_before_training(regression_task, make_trainer, rows, tmp_path):
    trained = make_trainer(regression_task(), evaluate=True, model_dir=tmp_path)
    found = trained.train_and_eval()
    checkpoint = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    assert make_trainer(regression_task(), evaluate=True, initial_weights=checkpoint).evaluate() == found


def test_a_schedule_without_a_config(make_trainer):
    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.02 * 0.5 ** tf.cast(step, tf.float32)

    collect = Collect()
    make_trainer(optimizer=lambda: keras.optimizers.SGD(Halving()), train_steps=2, actions=[collect]).train()
    assert collect.seen[0].metrics["learning_rate"] == pytest.approx(0.005)


def test_a_group_without_variables_and_a_group_without_gradients(regression_task, make_trainer):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initial_weights_map": {"^net/": r"\2"}}, r"Trainer.initial_weights_map: '\^net/'"),
        ({"initial_weights": "x.weights.h5"}, r"x.weights.h5.*wanted a checkpoint, or a .keras file"),
    ],
)
def test_first_weights_that_cannot_be_read(make_trainer, tmp_path, arguments, message):
    make_trainer(model_dir=tmp_path).train()
    source = {"initial_weights": tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))}
    with pytest.raises(UsageError, match=message):
        make_trainer(**{**source, **arguments}).train()
