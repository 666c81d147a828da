"""Several losses, each with its own optimizer and variables: against hand-written Keras loops on one device."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer import NonFiniteError, Task

TRAINED = ("generator", "discriminator")


class Networks(keras.Model):
    """A generator and a discriminator; the model itself is never called."""

    def __init__(self, **options):
        super().__init__()
        self.generator = self.network(3, "generator", seed=1, **options)
        self.discriminator = self.network(1, "discriminator", seed=2, **options)

    def network(self, units, name, seed, **options):
        made = functools.partial(keras.initializers.GlorotUniform, seed)
        hidden = keras.layers.Dense(4, activation="tanh", kernel_initializer=made(), name=f"{name}_hidden", **options)
        out = keras.layers.Dense(units, kernel_initializer=made(), name=f"{name}_out")
        return keras.Sequential([keras.Input((3,)), hidden, out], name=name)


class Gan(Task):
    """A GAN whose noise is in the batch, as `z`; `factor` multiplies the generator's losses."""

    def __init__(self, **options):
        self.options = options

    def build_model(self):
        return Networks(**self.options)

    def losses(self, model, batch, training):
        real = model.discriminator(batch["x"], training=training)[:, 0]
        fake = model.discriminator(model.generator(batch["z"], training=training), training=training)[:, 0]
        metrics.add("real", real)
        return {
            "generator": keras.ops.softplus(-fake) * batch["factor"],
            "discriminator": keras.ops.softplus(fake) + keras.ops.softplus(-real),
        }

    def variables(self, model, name):
        return getattr(model, name).trainable_variables


class Masked(Gan):
    """Each loss is over another part of the examples."""

    def losses(self, model, batch, training):
        found = super().losses(model, batch, training)
        masks = {"generator": batch["x"][:, 0] > 0, "discriminator": batch["x"][:, 1] > 0.5}
        return {
            name: Tally(tf.reduce_sum(tf.where(masks[name], each, 0.0)), tf.math.count_nonzero(masks[name]))
            for name, each in found.items()
        }


def adam_and_sgd(**options):
    return {
        "generator": keras.optimizers.Adam(0.02, **options),
        "discriminator": keras.optimizers.SGD(0.1, momentum=0.9, **options),
    }


@functools.cache
def data(n=40):
    rng = np.random.default_rng(3)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return {"x": 2 + draw(n, 3), "z": draw(n, 3), "factor": np.ones(n, np.float32)}


def mean(losses):
    if isinstance(losses, Tally):
        return losses.value / tf.cast(losses.count, losses.value.dtype)
    return tf.reduce_mean(losses)


def by_hand(task, optimizers, steps, batch=16, every=None, penalties=None):
    """A hand-written loop on one device: both gradients from the weights before the step. Returns name -> weights."""
    model, rows = task.build_model(), data()
    for step in range(steps):
        start = (batch * step) % 48 if batch == 16 else 0
        part = {key: tf.constant(each[start : start + batch]) for key, each in rows.items()}
        with tf.GradientTape(persistent=True) as tape:
            losses = {name: mean(each) for name, each in task.losses(model, part, True).items()}
            if penalties:
                losses = {name: each + tf.add_n(getattr(model, name).losses) for name, each in losses.items()}
        variables = {name: getattr(model, name).trainable_variables for name in losses}
        gradients = {name: tape.gradient(losses[name], variables[name]) for name in losses}
        for name, optimizer in optimizers.items():
            if (step + 1) % (every or {}).get(name, 1) == 0:
                optimizer.apply(gradients[name], variables[name])
    return weights(model)


def weights(model):
    return {name: [v.numpy() for v in getattr(model, name).trainable_variables] for name in TRAINED}


def assert_close(found, expected, atol=1e-6):
    for name in TRAINED:
        for one, other in zip(found[name], expected[name], strict=True):
            np.testing.assert_allclose(one, other, atol=atol, rtol=0, err_msg=name)


def started(task=None):
    return weights((task or Gan()).build_model())


def moved(found, before):
    """The losses whose variables have changed."""
    return [n for n in TRAINED if any((a != b).any() for a, b in zip(found[n], before[n], strict=True))]


@pytest.fixture(scope="module")
def gan(make_trainer):
    """gan(task, ...) -> a Trainer on 40 examples in batches of 16: the last one of an epoch has 8."""

    def make(task=None, rows=None, **arguments):
        defaults = {"optimizer": adam_and_sgd(), "train_steps": 6}
        return make_trainer(task or Gan(), rows or data(), **{**defaults, **arguments})

    return make


class Collect:
    """An action that keeps the metrics of train summaries."""

    def __init__(self, split="train"):
        self.seen, self.split = [], split

    def __call__(self, trainer, summary):
        if summary.split == self.split:
            self.seen.append(dict(summary.metrics))


class TestTrajectory:
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_is_that_of_a_loop_by_hand(self, gan, replicas):
        trainer = gan(replicas=replicas)
        trainer.train()
        expected = by_hand(Gan(), adam_and_sgd(), 6)
        assert_close(weights(trainer.model), expected)
        assert moved(expected, started()) == list(TRAINED)

    def test_masks_count_for_each_loss(self, gan):
        trainer = gan(Masked(), replicas=3)
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Masked(), adam_and_sgd(), 6))

    def test_accumulated_steps_are_one_larger_batch(self, gan):
        trainer = gan(Masked(), replicas=2, batch=20, train_steps=6, gradient_accumulation=2)
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Masked(), adam_and_sgd(), 3, batch=40))

    def test_options_of_an_optimizer_act_on_its_reduced_gradient(self, gan):
        options = {"global_clipnorm": 0.1, "use_ema": True, "ema_momentum": 0.5}
        trainer = gan(replicas=3, optimizer=adam_and_sgd(**options))
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(**options), 6))

    def test_clips_the_norm_of_each(self, gan):
        trainer = gan(replicas=2, clip_global_norm=0.1)
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(global_clipnorm=0.1), 6))

    def test_each_has_its_loss_scale(self, gan):
        def scaled():
            return {
                name: keras.optimizers.LossScaleOptimizer(each, initial_scale=scale)
                for (name, each), scale in zip(adam_and_sgd().items(), (8.0, 64.0), strict=True)
            }

        trainer = gan(replicas=2, optimizer=scaled(), clip_global_norm=0.1)
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(global_clipnorm=0.1), 6))

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_compiled(self, gan, replicas):
        trainer = gan(Masked(), replicas=replicas, jit_compile=True, update_every={"generator": 2})
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Masked(), adam_and_sgd(), 6, every={"generator": 2}))


class TestCheck:
    def test_does_not_depend_on_the_cut(self, gan):
        found = gan(Masked(), evaluate=True).check()
        assert {each.name for each in found} >= {
            "eval/test/loss/generator",
            "gradient/discriminator/discriminator_out/bias",
        }
        assert all(each.same for each in found)


class TestUpdateEvery:
    def test_steps(self, gan):
        """Of 7 steps, the generator is updated in 3 and 6."""
        optimizers = adam_and_sgd()
        trainer = gan(optimizer=optimizers, update_every={"generator": 3}, train_steps=7)
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(), 7, every={"generator": 3}))
        assert [int(each.iterations.numpy()) for each in optimizers.values()] == [2, 7]

    def test_counts_updates_of_accumulated_steps(self, gan):
        trainer = gan(batch=20, train_steps=8, gradient_accumulation=2, update_every={"discriminator": 2})
        trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(), 4, batch=40, every={"discriminator": 2}))


class TestPenalties:
    OPTIONS = {"kernel_regularizer": "l2", "activity_regularizer": None}  # noqa: RUF012

    def test_go_to_the_loss_whose_variables_they_touch(self, gan):
        task = functools.partial(Gan, kernel_regularizer=keras.regularizers.L2(0.1))
        collect = Collect()
        trainer = gan(task(), replicas=3, actions=[collect], summary_interval=1, evaluate=True)
        trainer.train_and_eval()
        assert_close(weights(trainer.model), by_hand(task(), adam_and_sgd(), 6, penalties=True))
        model = task().build_model()
        part = {key: tf.constant(each[:16]) for key, each in data().items()}
        for name, losses in task().losses(model, part, True).items():
            expected = float(mean(losses)) + float(tf.add_n(getattr(model, name).losses))
            assert collect.seen[0][f"loss/{name}"] == pytest.approx(expected, abs=1e-5)
        evaluated = trainer.evaluate()["test"]
        for name, losses in task().losses(trainer.model, data(), False).items():
            expected = float(mean(losses)) + float(tf.add_n(getattr(trainer.model, name).losses))
            assert evaluated[f"loss/{name}"] == pytest.approx(expected, abs=1e-5)


class TestMetrics:
    def test_each_loss_is_one(self, gan):
        collect = Collect()
        trainer = gan(Masked(), replicas=3, actions=[collect], summary_interval=2, evaluate=True, train_steps=2)
        found = trainer.train_and_eval()["test"]
        assert {*collect.seen[0]} == {*found, "learning_rate/generator", "learning_rate/discriminator"}
        assert {*found} == {"loss/generator", "loss/discriminator", "real"}
        for name, tally in Masked().losses(trainer.model, data(), False).items():
            assert found[f"loss/{name}"] == pytest.approx(float(mean(tally)), abs=1e-6)

    def test_a_task_may_record_a_loss_of_its_own(self, gan):
        class Balanced(Gan):
            def losses(self, model, batch, training):
                found = super().losses(model, batch, training)
                metrics.add("loss", found["generator"] + found["discriminator"])
                return found, None

        found = gan(Balanced(), evaluate=True, train_steps=1, best_metric="loss", best_mode="min").train_and_eval()
        assert found["test"]["loss"] == pytest.approx(sum(found["test"][f"loss/{name}"] for name in TRAINED))


def broken(*rows):
    """The data, where the generator's losses of these rows are NaN."""
    return {**data(), "factor": np.where(np.isin(np.arange(40), rows), np.nan, 1).astype(np.float32)}


class TestNonFinite:
    def test_halt_keeps_all_weights(self, gan):
        trainer = gan(rows=broken(20), replicas=2)
        with pytest.raises(
            NonFiniteError,
            match=r"Step 2: not finite: loss/generator on replica \[0\].*task's losses 'generator' \(1 NaN",
        ):
            trainer.train()
        assert_close(weights(trainer.model), by_hand(Gan(), adam_and_sgd(), 1))

    @pytest.mark.parametrize("accumulated", [1, 2])
    def test_skip_leaves_the_others_alone(self, gan, accumulated, caplog):
        """The discriminator goes on as if nothing had happened; the generator misses one update, that with row 20."""
        collect, optimizers = Collect(), adam_and_sgd()
        trainer = gan(
            rows=broken(20),
            replicas=2,
            batch=16 // accumulated,
            optimizer=optimizers,
            on_nonfinite="skip",
            train_steps=3 * accumulated,
            gradient_accumulation=accumulated,
            actions=[collect],
        )
        trainer.train()
        assert [int(each.iterations.numpy()) for each in optimizers.values()] == [2, 3]
        assert [collect.seen[-1][f"skipped/{name}"] for name in TRAINED] == [1, 0]
        told = [record.getMessage() for record in caplog.records if "were skipped" in record.getMessage()]
        assert [text.partition(" were")[0] for text in told] == [f"1 updates of {next(iter(TRAINED))}"]
        assert all(np.isfinite(each).all() for each in trainer.model.get_weights())

    def test_too_many_in_a_row_of_one_loss_stop_the_run_with_the_weights_before(self, gan):
        """Updates 2, 4 and 6 of the generator fail; the discriminator's in between do not reset the count."""
        optimizers = adam_and_sgd()
        trainer = gan(
            rows=broken(20, 36, 4),
            optimizer=optimizers,
            on_nonfinite="skip",
            max_consecutive_skips=1,
            update_every={"generator": 2},
            train_steps=9,
        )
        with pytest.raises(NonFiniteError, match="after 1 skipped updates in a row"):
            trainer.train()
        # Batches 2 (rows 16 to 31) and 4, that is 1 of the second epoch (rows 0 to 15), are bad.
        assert trainer.step == 3
        assert [int(each.iterations.numpy()) for each in optimizers.values()] == [0, 3]

    def test_what_is_not_updated_is_not_checked(self, gan):
        trainer = gan(rows=broken(20), update_every={"generator": 3}, train_steps=3)
        trainer.train()
        assert moved(weights(trainer.model), started()) == list(TRAINED)

    def test_rollback(self, gan, tmp_path):
        trainer = gan(
            rows=broken(20), on_nonfinite="rollback", checkpoint_interval=1, train_steps=3, model_dir=tmp_path
        )
        trainer.train()
        assert all(np.isfinite(each).all() for each in trainer.model.get_weights())


class TestCheckpoints:
    def test_a_rerun_continues_bit_for_bit(self, gan, tmp_path, assert_same_weights):
        options = {
            "task": Masked(),
            "replicas": 2,
            "gradient_accumulation": 2,
            "update_every": {"generator": 2},
            "checkpoint_interval": 3,
        }
        runs = {}
        for name, ends in {"whole": [10], "cut": [5, 10]}.items():
            for end in ends:
                optimizers = adam_and_sgd(use_ema=True)
                runs[name] = gan(train_steps=end, optimizer=optimizers, model_dir=tmp_path / name, **options)
                runs[name].train()
        assert_same_weights(runs["whole"], runs["cut"])

    def test_of_one_optimizer_do_not_fit(self, gan, tmp_path):
        gan(train_steps=1, model_dir=tmp_path).train()
        others = {**adam_and_sgd(), "discriminator": keras.optimizers.Adam(0.1)}
        with pytest.raises(UsageError, match="belongs to another optimizer"):
            gan(train_steps=2, model_dir=tmp_path, optimizer=others).train()

    def test_evaluate_the_averages_of_each(self, gan, tmp_path):
        """The generator has had no update, so it has no averages yet; those of the discriminator are all in the last weights."""
        averaged = {"use_ema": True, "ema_momentum": 0.5}
        options = {"evaluate": True, "update_every": {"generator": 5}}
        trainer = gan(
            train_steps=2, optimizer=adam_and_sgd(**averaged), summary_interval=1, model_dir=tmp_path, **options
        )
        found = trainer.train_and_eval()["test"]
        by_step = [by_hand(Gan(), adam_and_sgd(), step, every={"generator": 5}) for step in (1, 2)]
        model = Gan().build_model()
        halves = [(a + b) / 2 for a, b in zip(*(each["discriminator"] for each in by_step), strict=True)]
        model.discriminator.set_weights(halves)
        for name, losses in Gan().losses(model, data(), False).items():
            assert found[f"loss/{name}"] == pytest.approx(float(mean(losses)), abs=1e-6)
        fresh = gan(optimizer=adam_and_sgd(**averaged), model_dir=tmp_path, **options)
        assert fresh.evaluate()["test"] == pytest.approx(found)


class TestMistakes:
    def refused(self, gan, match, task=None, **arguments):
        with pytest.raises(UsageError, match=match):
            gan(task, **arguments).prepare()

    def test_one_optimizer(self, gan):
        match = r'Trainer.optimizer = <.*Adam.*>: expected a dict .*"NAME".* as Gan defines losses'
        self.refused(gan, match, optimizer=keras.optimizers.Adam())

    def test_several_optimizers_for_one_loss(self, make_trainer):
        with pytest.raises(
            UsageError, match=r"Trainer.optimizer = \{'a': .*expected one optimizer, .* as Regression defines loss"
        ):
            make_trainer(optimizer={"a": keras.optimizers.Adam()}).prepare()

    def test_other_names(self, gan):
        match = (
            r"test_several_losses.py:\d+, in losses: returned the losses 'generator', 'discriminator', and Trainer.optimizer "
            r"has 'discriminator': expected the same names; .*add one for 'generator'"
        )
        optimizers = adam_and_sgd()
        del optimizers["generator"]
        self.refused(gan, match, optimizer=optimizers)

    def test_an_optimizer_too_many(self, gan):
        match = r"variables\(model, 'critic'\) raised AttributeError.*'generator', 'discriminator', 'critic'"
        self.refused(gan, match, optimizer={**adam_and_sgd(), "critic": keras.optimizers.SGD()})

    def test_both_methods(self, gan):
        class Both(Gan):
            def losses(self, model, batch, training):
                return {"generator": batch["x"]}

            def loss(self, model, batch, training):
                return batch["x"]

        self.refused(gan, r"Both defines both loss and losses: expected one", Both())

    def test_a_subclass_may_choose(self, make_trainer, regression_task):
        class Chosen(regression_task):
            def losses(self, model, batch, training):
                return {"only": super().loss(model, batch, training)}

            def variables(self, model, name):
                return model.trainable_variables

        trainer = make_trainer(Chosen(), optimizer={"only": keras.optimizers.SGD(0.02)}, train_steps=2)
        other = make_trainer(train_steps=2)
        for each in (trainer, other):
            each.train()
        for one, two in zip(trainer.model.weights, other.model.weights, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_variables_missing(self, gan):
        class Missing(Gan):
            variables = Task.variables

        self.refused(gan, r"Missing must define variables\(self, model, name\)", Missing())

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            (lambda model, name: model.trainable_variables, r"generator_hidden/kernel.*by both 'generator' and 'discr"),
            (lambda model, name: model.generator, r"'generator'\) returned <Sequential.*expected a list of variables"),
            (lambda model, name: [], r"'generator'\) returned no variable.*expected those that the loss trains"),
            (lambda model, name: [keras.Variable(1.0, name="lost")], r"'generator'\) returned lost.*not of the model"),
            (lambda model, name: None, r"'generator'\) returned None: expected a list of variables.*return"),
        ],
    )
    def test_variables(self, gan, given, match):
        class Wrong(Gan):
            variables = staticmethod(given)

        self.refused(gan, match, Wrong())

    def test_untrained_variables_are_reported(self, gan, caplog):
        class Half(Gan):
            def variables(self, model, name):
                return super().variables(model, name)[: 2 if name == "generator" else None]

        gan(Half()).prepare()
        assert "generator_out/kernel, generator/generator_out/bias: no loss trains them" in caplog.text

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            (
                lambda found: found["generator"],
                r"in losses: returned .*: expected a dict .* name -> one loss per example",
            ),
            (lambda found: {}, r"in losses: returned \{\}: expected a dict"),
            (lambda found: {**found, "generator": 1.0}, r"in losses: the loss 'generator': returned a scalar"),
            (
                lambda found: {"gene rator": found["generator"]},
                r"in losses: returned a loss 'gene rator': expected a name",
            ),
            (lambda found: None, r"in losses: returned None: expected a dict"),
            (
                lambda found: {**found, "generator": tf.ones_like(found["generator"])},
                r"in losses: the loss 'generator' depends on none .*: generator/gen.*change the task's `variables`",
            ),
        ],
    )
    def test_losses(self, gan, change, match):
        class Wrong(Gan):
            def losses(self, model, batch, training):
                return change(super().losses(model, batch, training))

        self.refused(gan, match, Wrong())

    def test_the_same_optimizer_twice(self, gan):
        adam = keras.optimizers.Adam()
        match = r"Trainer.optimizer = .*: expected an optimizer per loss, got one twice"
        self.refused(gan, match, optimizer=dict.fromkeys(TRAINED, adam))

    @pytest.mark.parametrize(
        ("given", "match"),
        [
            (
                {"generater": 2},
                r"update_every = \{'generater': 2\}: expected names of losses, .*'generator', 'discriminator'",
            ),
            ({"generator": 0}, r"update_every\['generator'\] = 0: expected a whole number of at least 1"),
            (2, r"update_every = 2: expected a dict"),
        ],
    )
    def test_update_every(self, gan, given, match):
        self.refused(gan, match, update_every=given)

    def test_update_every_of_one_loss(self, make_trainer):
        with pytest.raises(UsageError, match=r"update_every.*several losses.*Trainer.gradient_accumulation"):
            make_trainer(update_every={"loss": 2})

    def test_best_metric(self, gan):
        match = r"best_metric = 'loss'.*loss/discriminator"
        self.refused(gan, match, evaluate=True, best_metric="loss", best_mode="min")
