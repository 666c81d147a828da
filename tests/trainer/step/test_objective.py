"""What a step differentiates, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer.step.objective import objective_terms, recorded_loss, touching
from tallyloop.trainer.task import SumOfMeans

RATE = 0.02


class TestPenalties:
    """A penalty on activations is a mean over rows, and a mask says nothing about rows."""

    @pytest.fixture(scope="class")
    @classmethod
    def task(cls, regression_task):
        class Masked(regression_task):
            """Of the first 12 rows 3 count, of the others 9."""

            def build_model(self):
                options = {
                    "activity_regularizer": keras.regularizers.L2(0.5),
                    "kernel_regularizer": keras.regularizers.L2(0.1),
                }
                return keras.Sequential(
                    [keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones", **options)]
                )

            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                return Tally(tf.reduce_sum(losses * batch["mask"]), tf.reduce_sum(batch["mask"]))

        return Masked()

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls, rows):
        return {**rows(24), "mask": (np.arange(24) % 12 < np.array([3, 9]).repeat(12)).astype(np.float32)}

    @staticmethod
    def expected(data, batches, updates):
        """The weights after full gradients by hand: of the masked mean, of the mean penalty, of the kernel's."""
        x = np.concatenate([data["x"], np.ones([24, 1])], 1).astype(np.float64)
        w, losses = np.array([1.0, 1.0, 1.0, 0.0]), []
        for i in range(updates):
            part = batches[i % len(batches)]
            x_, y, mask = x[part], data["y"][part], data["mask"][part]
            out, kernel = x_ @ w, w * [1, 1, 1, 0]
            losses.append((mask * (out - y) ** 2).sum() / mask.sum() + 0.5 * (out**2).mean() + 0.1 * (kernel**2).sum())
            w = w - RATE * (2 * mask * (out - y) @ x_ / mask.sum() + out @ x_ / len(out) + 0.2 * kernel)
        return w, losses

    @pytest.mark.parametrize("replicas", [1, 2, 3])
    def test_are_weighted_by_rows(self, make_trainer, weights_of, task, data, replicas):
        """14 rows and 10, of which 3 and 9 count (and others in the second batch): unequal everywhere."""
        seen = []
        trainer = make_trainer(
            task, data, replicas, batch=14, train_steps=4, steps_per_loop=1, summary_interval=1,
            actions=[lambda _, summary: seen.append(summary.metrics["loss"])],
        )  # fmt: skip
        trainer.train()
        w, losses = self.expected(data, [slice(0, 14), slice(14, 24)], 4)
        np.testing.assert_allclose(weights_of(trainer), w, rtol=1e-5)
        np.testing.assert_allclose(seen, losses, rtol=1e-5)

    def test_accumulate(self, make_trainer, weights_of, task, data):
        trainer = make_trainer(task, data, 2, batch=14, train_steps=4, gradient_accumulation=2)
        trainer.train()
        w, _ = self.expected(data, [slice(0, 24)], 2)
        np.testing.assert_allclose(weights_of(trainer), w, rtol=1e-5)

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_are_weighted_by_rows_where_the_number_of_tokens_varies(
        self, make_trainer, regression_task, rows, replicas
    ):
        """Half of the rows have 2 tokens, half 6. d/dw of mean(0.5 (xw)^2) over rows, and of losses that do not depend on w."""

        class Tokens(regression_task):
            def build_model(self):
                dense = keras.layers.Dense(
                    1, use_bias=False, kernel_initializer="ones", activity_regularizer=keras.regularizers.L2(0.5)
                )
                return keras.Sequential([keras.Input((3,)), dense])

            def loss(self, model, batch, training):
                out = model(batch["x"], training=training)
                tokens = tf.cast(tf.reduce_max(batch["tokens"]), tf.int32)
                return tf.repeat(0.0 * out + batch["y"][:, None], tokens, 1)

        data = {**rows(16), "tokens": np.repeat([2, 6], 8)}
        trainer = make_trainer(Tokens(), data, replicas, train_steps=1)
        trainer.train()
        x = data["x"].astype(np.float64)
        expected = 1 - RATE * (x.sum(1) @ x / 16)
        np.testing.assert_allclose(trainer.model.get_weights()[0][:, 0], expected, rtol=1e-5)

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_count_in_a_batch_that_is_masked_whole(self, make_trainer, regression_task, rows, replicas):
        """As in Keras: d/dw of 0.5 w^2 is w, whatever the losses are."""

        class Nothing(regression_task):
            def build_model(self):
                dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.5))
                return keras.Sequential([keras.Input((3,)), dense])

            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                return Tally(0.0 * tf.reduce_sum(losses), 0.0 * tf.reduce_sum(batch["y"]))

        trainer = make_trainer(Nothing(), rows(16), replicas, train_steps=1)
        trainer.train()
        np.testing.assert_allclose(trainer.model.get_weights()[0], 1 - RATE, rtol=1e-6)


class TestWeightedLosses:
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_are_divided_by_the_sum_of_the_weights(self, make_trainer, weights_of, regression_task, rows, replicas):
        """One step on 14 rows, 5, 5 and 4 to a replica, with weights 0, 1, 2, ... by hand."""

        class Weighted(regression_task):
            def loss(self, model, batch, training):
                return metrics.weighted(super().loss(model, batch, training), batch["weight"])

        data = {**rows(14), "weight": np.arange(14, dtype=np.float32)}
        trainer = make_trainer(Weighted(), data, replicas, batch=14, train_steps=1)
        before = weights_of(trainer)
        trainer.train()
        x = np.concatenate([data["x"], np.ones([14, 1])], 1).astype(np.float64)
        gradient = 2 * (data["weight"] * (x @ before - data["y"])) @ x / data["weight"].sum()
        after = weights_of(trainer)
        np.testing.assert_allclose(after, before - RATE * gradient, rtol=1e-5)

    def test_are_so_too_if_that_is_less_than_one(self, make_trainer, weights_of, regression_task, rows):
        """14 weights of a 56th, a sum of 0.25: the step is that of the plain mean."""

        class Weighted(regression_task):
            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                return metrics.weighted(losses, tf.ones_like(losses) / 56)

        trainer = make_trainer(Weighted(), rows(14), batch=14, train_steps=1)
        before = weights_of(trainer)
        trainer.train()
        x = np.concatenate([rows(14)["x"], np.ones([14, 1])], 1).astype(np.float64)
        gradient = 2 * (x @ before - rows(14)["y"]) @ x / 14
        np.testing.assert_allclose(weights_of(trainer), before - RATE * gradient, rtol=1e-5)


class TestRecordedLoss:
    def test_is_the_sum_of_the_means_of_what_has_examples(self):
        """6 / 4 + 0 / 0, which counts for nothing, + 5 / 10."""
        terms = [Tally(tf.constant(a), tf.constant(b)) for a, b in ((6.0, 4.0), (0.0, 0.0), (5.0, 10.0))]
        tally, finish = recorded_loss(terms)
        assert finish.finish(tally.value.numpy(), tally.count.numpy()) == 2.0


class TestTerms:
    def test_each_part_keeps_its_own_count(self):
        parts = [Tally(tf.constant(a), tf.constant(b)) for a, b in ((6.0, 4.0), (5.0, 10.0))]
        found = objective_terms(SumOfMeans(parts), [], share=None)
        assert [(float(term.value), float(term.count)) for term in found] == [(6.0, 4.0), (5.0, 10.0)]


class TestTouching:
    def test_a_penalty_belongs_to_the_losses_that_train_what_it_depends_on(self):
        """One is of `a`, one of `b`, one of both, and one of what no loss trains."""
        a, b, other = (keras.Variable(value) for value in (1.0, 2.0, 3.0))
        with tf.GradientTape(persistent=True) as tape:
            penalties = [a.value**2, b.value**2, a.value * b.value, other.value**2]
        found = touching(tape, penalties, {"of a": [a], "of b": [b], "of both": [a, b], "of neither": []})
        places = {name: [[each is p for p in penalties].index(True) for each in of] for name, of in found.items()}
        assert places == {"of a": [0, 2], "of b": [1, 2], "of both": [0, 1, 2], "of neither": []}


class TestRows:
    def train(self, make_trainer, regression_task, losses, **data):
        class Other(regression_task):
            def loss(self, model, batch, training):
                return losses(model(batch["x"], training=training), batch)

        make_trainer(Other(), **data, train_steps=1).train()

    @pytest.mark.parametrize(
        ("options", "shape"),
        [((), "batch, batch"), (("jit_compile",), "batch, batch"), (("drop_remainder",), "16, 16")],
        ids=["plain", "compiled", "of one size"],
    )
    def test_a_matrix_of_each_against_each_is_refused(self, make_trainer, regression_task, rows, options, shape):
        class Crossed(regression_task):
            def loss(self, model, batch, training):
                return (model(batch["x"], training=training) - batch["y"]) ** 2

        dataset = Input(rows(40), 16, drop_remainder="drop_remainder" in options)
        trainer = make_trainer(Crossed(), train_dataset=dataset, train_steps=1, jit_compile="jit_compile" in options)
        told = rf"matrix of shape \({shape}\), .*\(batch, 1\) array minus a \(batch,\) array"
        with pytest.raises(UsageError, match=told):
            trainer.train()

    def test_a_matrix_of_a_batch_with_integers_is_refused(self, make_trainer, regression_task, rows):
        class Crossed(regression_task):
            def loss(self, model, batch, training):
                weights = tf.reduce_max(tf.one_hot(batch["kind"], 3), -1)  # of integers only
                return (model(batch["x"], training=training) - batch["y"]) ** 2 * weights

        trainer = make_trainer(Crossed(), data={**rows(40), "kind": np.arange(40) % 3}, train_steps=1)
        with pytest.raises(UsageError, match="returned a matrix of shape"):
            trainer.train()

    @pytest.mark.parametrize("layer", [keras.layers.BatchNormalization, lambda: keras.layers.Dropout(0.5)])
    def test_a_matrix_of_a_model_with_state_is_refused(self, make_trainer, regression_task, layer):
        class Crossed(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), layer(), keras.layers.Dense(1)])

            def loss(self, model, batch, training):
                return (model(batch["x"], training=training) - batch["y"]) ** 2

        with pytest.raises(UsageError, match=r"matrix of shape .*\(batch, 1\) array minus a \(batch,\) array"):
            make_trainer(Crossed(), train_steps=1).train()

    def test_a_loss_per_token_of_a_model_with_penalties_and_state_is_not(self, make_trainer, regression_task):
        """The penalties are those of the step itself: the weights are those of the same losses without a second axis."""

        def trained(reduce):
            class Other(regression_task):
                def build_model(self):
                    dense = keras.layers.Dense(
                        1, kernel_initializer="ones", activity_regularizer=keras.regularizers.L2(0.5)
                    )
                    layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5, seed=1), dense]
                    return keras.Sequential([keras.Input((3,)), *layers])

                def loss(self, model, batch, training):
                    out = model(batch["x"], training=training)
                    return reduce((out - tf.repeat(batch["y"][:, None], 16, 1)) ** 2)

            trainer = make_trainer(Other(), 32, train_steps=2)  # all batches have 16 rows
            trainer.train()
            return np.concatenate([each.ravel() for each in trainer.model.get_weights()])

        np.testing.assert_allclose(trained(lambda x: x), trained(lambda x: tf.reduce_mean(x, 1)), rtol=1e-5)

    def test_a_loss_per_token_is_not(self, make_trainer, regression_task):
        """Of as many tokens as there are rows in a batch."""
        losses = lambda out, batch: (out - tf.repeat(batch["y"][:, None], 16, 1)) ** 2  # noqa: E731
        self.train(make_trainer, regression_task, losses, data=32)

    def test_a_number_of_tokens_that_is_not_known_is_not(self, make_trainer, regression_task):
        def losses(out, batch):
            return (out - tf.repeat(batch["y"][:, None], tf.random.uniform([], 2, 5, tf.int32), 1)) ** 2

        self.train(make_trainer, regression_task, losses)

    def test_a_first_axis_of_another_kind_is_not(self, make_trainer, regression_task):
        """Three losses of each example, stacked in front."""
        self.train(make_trainer, regression_task, lambda out, batch: tf.stack([(out[:, 0] - batch["y"]) ** 2] * 3))


class TestVariables:
    def test_none_of_which_the_losses_depend_on_is_refused(self, make_trainer, regression_task):
        class Constant(regression_task):
            def loss(self, model, batch, training):
                return batch["y"] ** 2

        with pytest.raises(
            UsageError, match=r"test_objective.py:\d+, in loss: .*no trainable variable: .*dense/kernel"
        ):
            make_trainer(Constant(), train_steps=1).train()

    @pytest.fixture(scope="class")
    @classmethod
    def adversarial(cls, regression_task):
        """adversarial(frozen, stopped) -> a task that has a second model."""

        class Adversarial(regression_task):
            def __init__(self, frozen=False, stopped=False):
                self.frozen, self.stopped = frozen, stopped

            def build_model(self):
                self.critic = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="judge")])
                self.critic.trainable = not self.frozen
                return super().build_model()

            def loss(self, model, batch, training):
                opinion = self.critic(batch["x"])[:, 0]
                return super().loss(model, batch, training) + (tf.stop_gradient(opinion) if self.stopped else opinion)

        return Adversarial

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_of_another_model_are_refused(self, make_trainer, adversarial, replicas):
        with pytest.raises(UsageError, match=r"variables that the model does not have: .*judge/bias, .*judge/kernel"):
            make_trainer(adversarial(), replicas=replicas, train_steps=1).train()

    @pytest.mark.parametrize("options", [{"frozen": True}, {"stopped": True}])
    def test_of_a_model_that_is_only_asked_are_not(self, make_trainer, adversarial, options):
        make_trainer(adversarial(**options), replicas=2, train_steps=1).train()

    def test_of_tensorflow_are_refused(self, make_trainer, regression_task):
        temperature = tf.Variable(1.0, name="temperature")

        class Tempered(regression_task):
            def loss(self, model, batch, training):
                return super().loss(model, batch, training) * temperature

        with pytest.raises(UsageError, match="does not have: temperature:0"):
            make_trainer(Tempered(), train_steps=1).train()
