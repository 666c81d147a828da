"""Moving statistics and seeds: the same on all replicas after each step, whatever their shares."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Trainer


def task_of(regression_task, *layers):
    """Least squares on layers that end in one unit, without a bias before BatchNorm."""

    class Layered(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), *(layer() for layer in layers), keras.layers.Dense(1)])

    return Layered()


def norm(**arguments):
    return lambda: keras.layers.BatchNormalization(momentum=0.9, **arguments)


def on_replicas(variable):
    """The values of a variable's copies."""
    value = variable.value
    return [copy.numpy() for copy in getattr(value, "values", [value])]


def shares(n, replicas):
    return [(n * r // replicas, n * (r + 1) // replicas) for r in range(replicas)]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_moving_statistics_are_weighted_by_examples(regression_task, make_trainer, rows, jit_compile):
    """One batch of 5 on 4 replicas with shares of 1, 1, 1, 2; then one of 2: two replicas have none."""
    trainer = make_trainer(
        task_of(regression_task, norm()), data=7, batch=5, replicas=4, train_steps=2, jit_compile=jit_compile
    )
    trainer.train()
    mean, variance = np.zeros(3), np.ones(3)
    for batch in (rows(7)["x"][:5], rows(7)["x"][5:]):
        parts = [batch[a:b].astype(np.float64) for a, b in shares(len(batch), 4) if b > a]
        weights = [len(part) / len(batch) for part in parts]
        mean = 0.9 * mean + 0.1 * sum(w * part.mean(0) for w, part in zip(weights, parts, strict=True))
        variance = 0.9 * variance + 0.1 * sum(w * part.var(0) for w, part in zip(weights, parts, strict=True))
    layer = trainer.model.layers[0]
    for variable, wanted in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        copies = on_replicas(variable)
        assert len(copies) == 4
        for copy in copies:
            np.testing.assert_allclose(copy, wanted, rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("n", [103, 97])
def test_synchronized_batch_norm_trains_as_on_one_device(regression_task, make_trainer, weights_of, n, replicas):
    """97 = 6 * 16 + 1: with 4 replicas, three have no example of the last batch."""

    def trained(replicas):
        dense = lambda: keras.layers.Dense(5, use_bias=False, activation="tanh")  # noqa: E731
        keras.utils.set_random_seed(3)
        trainer = make_trainer(
            task_of(regression_task, dense, norm(synchronized=True)), data=n, replicas=replicas, train_steps=14
        )
        trainer.train()
        return trainer

    one, several = trained(1), trained(replicas)
    np.testing.assert_allclose(weights_of(several), weights_of(one), atol=2e-5)
    for mine, its in zip(several.model.non_trainable_variables, one.model.non_trainable_variables, strict=True):
        for copy in on_replicas(mine):
            np.testing.assert_allclose(copy, its.numpy(), rtol=1e-5, atol=1e-6)


def test_synchronized_batch_norm_takes_a_mask_over_all_replicas(regression_task, make_trainer, rows):
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
    make_trainer(task, data=data, replicas=2, train_steps=1).train()
    kept = data["x"][data["x"] != 0].astype(np.float64)
    np.testing.assert_allclose(task.norm.moving_mean.numpy(), [kept.mean()], rtol=1e-5)
    np.testing.assert_allclose(task.norm.moving_variance.numpy(), [kept.var()], rtol=1e-5)


def test_synchronized_batch_norm_cannot_be_compiled_on_several_replicas(regression_task, make_trainer):
    trainer = make_trainer(task_of(regression_task, norm(synchronized=True)), replicas=2, jit_compile=True)
    with pytest.raises(UsageError, match=r"Trainer.jit_compile = True.*synchronized=True.*batch_normalization"):
        trainer.train()


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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_replica_drops_others_and_the_first_what_one_device_would(regression_task, make_trainer, jit_compile):
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
    assert [list(copy) for copy in on_replicas(seed)] == [[7, 2]] * 4


def test_a_resumed_run_drops_what_the_uninterrupted_one_does(regression_task, make_trainer, tmp_path):
    whole, _ = masks(regression_task, make_trainer, 2, steps=4)
    first, _ = masks(regression_task, make_trainer, 2, steps=2, model_dir=tmp_path)
    second, _ = masks(regression_task, make_trainer, 2, steps=4, model_dir=tmp_path)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_a_seed_generator_that_the_model_does_not_hold_is_in_the_checkpoint(regression_task, make_trainer, tmp_path):
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
def test_random_numbers_without_a_seed_are_refused(regression_task, make_trainer, replicas):
    class Noisy(regression_task):
        def loss(self, model, batch, training):
            return super().loss(model, batch, training) + keras.random.normal(())

    with pytest.raises(UsageError, match=r"without a seed.*keras.random.SeedGenerator"):
        make_trainer(Noisy(), replicas=replicas).train()


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


@pytest.mark.parametrize("replicas", [1, 4])
def test_counters(regression_task, make_trainer, replicas):
    """17 rows in batches of 16: on 4 replicas, three borrow an example of the last batch, which is not counted."""
    trainer = make_trainer(task_of(regression_task, Counts), data=17, replicas=replicas, train_steps=4)
    trainer.train()
    layer = trainer.model.layers[0]
    assert [int(copy) for copy in on_replicas(layer.examples)] == [34] * replicas
    assert [int(copy) for copy in on_replicas(layer.calls)] == [4] * replicas


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_that_is_not_finite_changes_no_state(regression_task, make_trainer, rows, replicas):
    data = rows(32)
    data["x"][20] = np.nan
    trainer = make_trainer(
        task_of(regression_task, norm(), lambda: keras.layers.Dropout(0.5)), data=data, replicas=replicas, train_steps=2
    )
    clean = make_trainer(
        task_of(regression_task, norm(), lambda: keras.layers.Dropout(0.5)),
        data=rows(32),
        replicas=replicas,
        train_steps=1,
    )
    clean.train()
    with pytest.raises(RuntimeError, match="Step 2: not finite"):
        trainer.train()
    for mine, its in zip(trainer.model.non_trainable_variables, clean.model.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), its.numpy())


class Penalized(keras.layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * tf.reduce_sum(x[:1] ** 0))  # 0.3
        return x


def test_penalties_are_seen(regression_task, make_trainer):
    """A layer's own loss, and a regulariser's: 2 * the sum of 3 ones squared."""
    dense = lambda: keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(2.0), kernel_initializer="identity")  # noqa: E731

    class Silent(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), Penalized(), dense()])

        def loss(self, model, batch, training):
            return 0.0 * tf.reduce_sum(model(batch["x"], training=training), 1)

    seen = []
    make_trainer(Silent(), replicas=2, train_steps=1, actions=[lambda _, s: seen.append(s.metrics["loss"])]).train()
    assert seen == [pytest.approx(0.3 + 2 * 3)]


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_is_random_inside_a_loop_still_works(regression_task, rows, mirrored_on, replicas):
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
        Recurrent(), keras.optimizers.SGD(0.01), mirrored_on(replicas), Input(rows(24), 16), train_steps=4
    )
    trainer.train()
    assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)
    for variable in trainer.model.variables:
        assert len({copy.tobytes() for copy in on_replicas(variable)}) == 1, variable.path


def test_another_number_of_replicas_is_told_where_it_matters(regression_task, make_trainer, tmp_path, caplog):
    def run(folder, replicas, steps, *layers):
        caplog.clear()
        task = task_of(regression_task, *layers)
        make_trainer(task, replicas=replicas, train_steps=steps, model_dir=tmp_path / folder).train()
        return caplog.text

    run("dropout", 2, 2, lambda: keras.layers.Dropout(0.5, name="drop"), norm(name="norm"))
    said = run("dropout", 1, 4, lambda: keras.layers.Dropout(0.5, name="drop"), norm(name="norm"))
    assert "The checkpoint is of 2 replicas, and there are 1:" in said
    assert "drop, " in said
    assert "norm" in said
    run("plain", 2, 2, norm(synchronized=True))
    assert "replicas" not in run("plain", 1, 4, norm(synchronized=True))


def test_spectral_normalization_trains(regression_task, make_trainer):
    """It assigns its kernel in the forward pass; the update must come after that, on any number of replicas."""

    def trained(replicas):
        layer = lambda: keras.layers.SpectralNormalization(keras.layers.Dense(4, use_bias=False))  # noqa: E731
        keras.utils.set_random_seed(2)
        trainer = make_trainer(task_of(regression_task, layer), data=32, replicas=replicas, train_steps=30)
        first = trainer.model.layers[0].layer.kernel.numpy()
        trainer.train()
        last = trainer.model.layers[0].layer.kernel.numpy()
        return first / np.linalg.norm(first), last / np.linalg.norm(last)

    first, last = trained(1)
    assert np.abs(last - first).max() > 0.1
    np.testing.assert_allclose(trained(2)[1], last, atol=1e-5)


@pytest.mark.parametrize("layer", [keras.layers.Dropout, None])
def test_a_rematerialised_layer_runs_again_with_the_same_mask(regression_task, make_trainer, weights_of, layer):
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


def test_evaluating_changes_no_state(regression_task, make_trainer, rows):
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


def test_what_the_task_holds_is_restored_to_evaluate(regression_task, make_trainer, tmp_path):
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


def test_not_finite_in_the_middle_of_an_update_spoils_no_statistics(regression_task, make_trainer, rows, tmp_path):
    data = rows(32)
    data["x"][2] = np.nan
    trainer = make_trainer(
        task_of(regression_task, norm()), data=data, train_steps=4, gradient_accumulation=2, steps_per_loop=1
    )
    with pytest.raises(RuntimeError, match="Steps 1 to 2: not finite"):
        trainer.train()
    assert all(np.isfinite(v.numpy()).all() for v in trainer.model.variables)


def test_a_state_that_belongs_to_the_examples_of_a_batch_is_refused_on_several_replicas(regression_task, make_trainer):
    class Stateful(regression_task):
        def build_model(self):
            return keras.Sequential(
                [
                    keras.Input((3, 1), batch_size=16),
                    keras.layers.LSTM(2, stateful=True, name="memory"),
                    keras.layers.Dense(1),
                ]
            )

        def loss(self, model, batch, training):
            return model(batch["x"][..., tf.newaxis], training=training)[:, 0] ** 2

    with pytest.raises(UsageError, match=r"memory has stateful=True"):
        make_trainer(Stateful(), data=32, replicas=2).train()
