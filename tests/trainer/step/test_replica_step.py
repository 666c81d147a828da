"""What one replica computes: the loss, its gradient, the metrics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data.feeds.replica_share import ReplicaShare
from tallyloop.metrics import MetricRegistry, Tally, UsageError
from tallyloop.metrics.device.accumulator import Accumulator
from tallyloop.trainer.step.forward_state import ForwardState
from tallyloop.trainer.step.replica_step import ReplicaStep
from tallyloop.trainer.task import Task, TaskLosses

X = tf.constant([[1.0, 2.0], [3.0, 4.0]])


def share(rows=2, examples=5, replica=0):
    return ReplicaShare(*(tf.constant(each, tf.int64) for each in (replica, 0, rows, examples)))


WHOLE = share()


def squares(model, x):
    return model(x)[:, 0] ** 2


class Alone:
    """The step of one replica, run eagerly, of a layer whose weights are (1, 2) and whose bias is 0.5.

    X gives 5.5 and 11.5, with the squares 30.25 and 132.25. The gradient of their sum, 162.5, is 2 * 5.5 * (1, 2, 1) +
    2 * 11.5 * (3, 4, 1) = (80, 114, 34).
    """

    def __init__(self, forward=squares, functions=None, layers=(), **options):
        self.model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1, **options)])
        self.model.layers[-1].set_weights([np.array([[1.0], [2.0]]), np.array([0.5])])
        self.registry = MetricRegistry(functions)
        self.accumulator = Accumulator(tf.distribute.get_strategy(), self.registry.layout)
        self.step = ReplicaStep(TaskLosses(Task(), self.model), forward, self.registry, self.accumulator)

    def differentiate(self, x=X, share=WHOLE, scale=lambda loss: loss):
        return self.step.differentiate(x, share, lambda name: scale, ForwardState())


def terms_of(contribution):
    (terms,) = contribution.terms.values()
    return terms


def gradients_of(contribution):
    (term,) = terms_of(contribution)
    return [term.gradients[i].numpy().ravel().tolist() for i in sorted(term.gradients)]


class TestContribution:
    def test_sums_are_not_divided(self):
        found = Alone().differentiate()
        assert gradients_of(found) == [[80, 114], [34]]
        assert (float(terms_of(found)[0].loss.value), float(terms_of(found)[0].loss.count)) == (162.5, 2)
        assert found.packed.numpy().tolist() == [2, 162.5]  # count before value, as in the layout
        assert found.state == []

    def test_of_a_borrowed_example_is_zero(self):
        found = Alone().differentiate(share=share(rows=0))
        assert gradients_of(found) == [[0, 0], [0]]
        assert (float(terms_of(found)[0].loss.value), float(terms_of(found)[0].loss.count)) == (0, 0)
        assert found.packed.numpy().tolist() == [0, 0]

    def test_one_row_counts(self):
        found = Alone().differentiate(X[:1], share(rows=1))
        assert gradients_of(found) == [[11, 22], [11]]

    def test_leaves_out_untouched_variables(self):
        found = Alone(lambda model, x: (x @ model.trainable_variables[0].value)[:, 0]).differentiate()
        assert list(terms_of(found)[0].gradients) == [0]
        assert gradients_of(found) == [[4, 6]]

    def test_sparse_gradients_become_dense(self):
        found = Alone(lambda model, x: tf.gather(model.trainable_variables[0].value, [1, 1])[:, 0]).differentiate()
        assert isinstance(terms_of(found)[0].gradients[0], tf.Tensor)
        assert gradients_of(found) == [[0, 2]]

    def test_state_is_captured_and_not_assigned(self):
        counts = Calls()
        alone = Alone(layers=[counts])
        counts.calls.assign(3)
        found = alone.differentiate()
        assert [int(each) for each in found.state] == [4]
        assert int(counts.calls.numpy()) == 3

    def test_refuses_a_gradient_of_another_shape(self):
        """Before anything adds it up: it might be broadcast there."""

        @tf.custom_gradient
        def wrong(kernel):
            return kernel, lambda upstream: tf.reduce_sum(upstream)

        alone = Alone(lambda model, x: (x @ wrong(model.trainable_variables[0].value))[:, 0])
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[\] is not compatible with expected shape \[2,1\]"):
            alone.differentiate()

    def test_a_rematerialized_layer_draws_the_same_again(self):
        """The loss is linear in the kernel, so the kernel times its gradient is the loss, if both have the same noise."""
        generator = keras.random.SeedGenerator(7)

        def forward(model, x):
            def noisy(x):
                return (x @ model.trainable_variables[0].value)[:, 0] * keras.random.normal([2], seed=generator)

            return tf.recompute_grad(noisy)(x)

        found = Alone(forward).differentiate(share=share(replica=1))
        assert float(tf.reduce_sum(terms_of(found)[0].gradients[0] * [[1.0], [2.0]])) == pytest.approx(
            float(terms_of(found)[0].loss.value)
        )

    @pytest.mark.parametrize("method", ["differentiate", "evaluate"])
    def test_layers_see_the_share(self, method):
        mine, seen = share(), []

        def forward(model, x):
            seen.append(ReplicaShare.current())
            return squares(model, x)

        alone = Alone(forward)
        if method == "evaluate":
            alone.step.evaluate(X, mine)
        else:
            alone.differentiate(share=mine)
        assert len(seen) == 1
        assert seen[0] is mine
        assert ReplicaShare.current() is None


class TestLossScale:
    def test_is_that_of_a_mean_over_the_global_batch(self):
        seen = []

        def scale(loss):
            seen.append(float(loss))
            return 1024.0 * loss

        found = Alone().differentiate(scale=scale)
        assert seen[-1] == 32.5  # 162.5 / 5
        assert gradients_of(found) == [pytest.approx([80 * 1024, 114 * 1024]), pytest.approx([34 * 1024])]
        assert float(terms_of(found)[0].loss.value) == 162.5

    def test_gradients_of_another_dtype_than_the_loss(self):
        found = Alone(dtype="bfloat16").differentiate(scale=lambda loss: 2.0 * loss)
        assert {gradient.dtype for gradient in terms_of(found)[0].gradients.values()} == {tf.bfloat16}
        assert gradients_of(found) == [pytest.approx([160, 228], rel=0.02), pytest.approx([68], rel=0.02)]


class TestPenalties:
    def test_count_once_per_example(self):
        """L2 of factor 2: 2 * (1 + 4) = 10 per example, with the gradient 4 * (1, 2)."""
        found = Alone(kernel_regularizer=keras.regularizers.L2(2.0)).differentiate()
        assert (float(terms_of(found)[0].loss.value), float(terms_of(found)[0].loss.count)) == (182.5, 2)
        assert gradients_of(found) == [[80 + 2 * 4, 114 + 2 * 8], [34]]

    def test_take_the_dtype_of_the_loss(self):
        options = {"kernel_regularizer": keras.regularizers.L2(2.0)}
        found = Alone(lambda model, x: tf.cast(squares(model, x), tf.float64), **options).differentiate()
        assert terms_of(found)[0].loss.value.dtype == tf.float64
        assert float(terms_of(found)[0].loss.value) == 182.5

    def test_are_weighted_by_rows_whatever_the_count(self):
        """A Tally's count, such as that of a mask, says nothing about rows: 2 rows of a penalty of 10."""

        def forward(model, x):
            return Tally(tf.reduce_sum(squares(model, x)), tf.reduce_sum(model.trainable_variables[0].value))

        loss, penalty = terms_of(Alone(forward, kernel_regularizer=keras.regularizers.L2(2.0)).differentiate())
        assert (float(loss.loss.value), float(loss.loss.count)) == (162.5, 3)
        assert (float(penalty.loss.value), float(penalty.loss.count)) == (20, 2)
        assert [loss.gradients[i].numpy().ravel().tolist() for i in (0, 1)] == [[80, 114], [34]]
        assert {i: each.numpy().ravel().tolist() for i, each in penalty.gradients.items()} == {0: [2 * 4, 2 * 8]}


class TestEvaluate:
    FUNCTIONS = {"first": lambda x, outputs: (tf.reduce_sum(x[:, 0]) + outputs, 7.0)}  # noqa: RUF012

    def test_packs_the_loss_and_the_metrics(self):
        packed = Alone(lambda model, x: (squares(model, x), 100.0), self.FUNCTIONS).step.evaluate(X, share())
        assert sorted(packed.numpy().tolist()) == [2, 7, 104, 162.5]

    def test_of_a_borrowed_example_is_zero(self):
        packed = Alone(lambda model, x: (squares(model, x), 100.0), self.FUNCTIONS).step.evaluate(X, share(rows=0))
        assert packed.numpy().tolist() == [0, 0, 0, 0]

    def test_one_row_counts(self):
        assert sorted(Alone().step.evaluate(X[:1], share(rows=1)).numpy().tolist()) == [1, 30.25]

    def test_replicas_draw_different_numbers(self):
        """The first replica draws what Keras would; the seed stays."""
        generator = keras.random.SeedGenerator(7)
        before = generator.state.numpy().tolist()
        alone = Alone(lambda model, x: keras.random.normal([2], seed=generator))
        first, second, again = (alone.step.evaluate(X, share(replica=i)).numpy().tolist() for i in (0, 1, 0))
        assert first == again
        assert first[0] == second[0] == 2
        assert first[1] != second[1]
        assert generator.state.numpy().tolist() == before
        assert first[1] == pytest.approx(float(tf.reduce_sum(keras.random.normal([2], seed=generator))))

    def test_changes_no_state(self):
        counts = Calls()
        Alone(layers=[counts]).step.evaluate(X, share())
        assert int(counts.calls.numpy()) == 0


class Calls(keras.layers.Layer):
    """Counts its calls."""

    def build(self, _):
        self.calls = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros")

    def call(self, x):
        self.calls.assign_add(1)
        return x


class Penalized(keras.layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * tf.reduce_sum(x[:1] ** 0))  # 0.3
        return x


class TestLoss:
    def test_penalties_are_in_it(self, regression_task, make_trainer):
        """A layer's own loss, and a regulariser's: 2 * the sum of 3 ones squared."""
        options = {"kernel_regularizer": keras.regularizers.L2(2.0), "kernel_initializer": "identity"}

        class Silent(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), Penalized(), keras.layers.Dense(3, **options)])

            def loss(self, model, batch, training):
                return 0.0 * tf.reduce_sum(model(batch["x"], training=training), 1)

        seen = []
        make_trainer(Silent(), replicas=2, train_steps=1, actions=[lambda _, s: seen.append(s.metrics["loss"])]).train()
        assert seen == [pytest.approx(0.3 + 2 * 3)]

    def test_its_name_is_taken(self, regression_task, make_trainer):
        """What a task adds as `loss` would mix with the losses it returns."""

        class Mixed(regression_task):
            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                metrics.add("loss", 100 + losses)
                return losses

        with pytest.raises(UsageError, match="'loss'"):
            make_trainer(Mixed(), train_steps=1).train()

    def test_refuses_a_scalar(self, regression_task, make_trainer, tmp_path):
        class Averaged(regression_task):
            def loss(self, model, batch, training):
                return tf.reduce_mean(super().loss(model, batch, training))

        with pytest.raises(UsageError, match="returned a scalar"):
            make_trainer(Averaged(), replicas=2, model_dir=tmp_path / "run").train()
        assert not (tmp_path / "run").exists()


class TestGradient:
    def test_untouched_variables_stay(self, regression_task, make_trainer):
        class Half(regression_task):
            def build_model(self):
                inputs = keras.Input((3,))
                return keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in ("unused", "used")])

            def loss(self, model, batch, training):
                return (model(batch["x"], training=training)[1][:, 0] - batch["y"]) ** 2

        trainer = make_trainer(Half(), replicas=2, train_steps=2, optimizer=keras.optimizers.Adam(0.1))
        before = {v.path: v.numpy() for v in trainer.model.trainable_variables}
        trainer.train()
        changed = {v.path: bool((v.numpy() != before[v.path]).any()) for v in trainer.model.trainable_variables}
        assert changed == {"unused/kernel": False, "unused/bias": False, "used/kernel": True, "used/bias": True}

    def test_sparse_rows(self, make_trainer, regression_task):
        """Its gradients are sparse, a row may come twice, and the norm is that of the summed rows."""

        class Embedded(regression_task):
            def build_model(self):
                layer = keras.layers.Embedding(4, 1, embeddings_initializer="zeros")
                return keras.Sequential([keras.Input((), dtype="int32"), layer])

        data = {"x": np.array([0, 1, 1, 3], np.int32), "y": np.array([4.0, 1, 2, 8], np.float32)}
        trainer = make_trainer(Embedded(), data=data, replicas=2, train_steps=1, clip_global_norm=1.0)
        trainer.train()
        g = np.array([2 * -4.0, 2 * -3, 0, 2 * -8]) / 4
        expected = -0.02 * g / np.linalg.norm(g)
        np.testing.assert_allclose(trainer.model.get_weights()[0][:, 0], expected, atol=1e-7)

    def test_refuses_another_shape(self, regression_task, make_trainer):
        """Adam would broadcast it."""

        @tf.custom_gradient
        def wrong(weights):
            return weights, lambda upstream: tf.reduce_sum(upstream)

        class Wrong(regression_task):
            def loss(self, model, batch, training):
                (weights, bias) = model.trainable_variables
                return (batch["x"] @ wrong(weights.value) + bias - batch["y"][:, None])[:, 0] ** 2

        with pytest.raises(ValueError, match="rank"):
            make_trainer(Wrong(), optimizer=lambda: keras.optimizers.Adam(0.1)).train()

    def test_refuses_a_constant_loss(self, regression_task, make_trainer):
        class Constant(regression_task):
            def loss(self, model, batch, training):
                return batch["y"]

        with pytest.raises(UsageError, match=r"no trainable variable: .*dense/kernel.*dense/bias"):
            make_trainer(Constant()).train()


class TestMetrics:
    def test_finish_in_the_call(self, regression_task, make_trainer):
        class Shown(regression_task):
            def loss(self, model, batch, training):
                metrics.add("ones", tf.ones_like(batch["y"]), finish=lambda value, count: value / count + 1)
                return super().loss(model, batch, training)

        seen = []
        action = lambda _, summary: seen.append(summary.metrics["ones"])  # noqa: E731
        make_trainer(Shown(), replicas=2, train_steps=1, evaluate=True, actions=[action]).train_and_eval()
        assert seen == [2.0, 2.0]

    def test_inside_a_while_loop(self, regression_task, make_trainer, rows):
        """On 2 replicas, and with a last batch of one row, so that one of them has no example in it."""

        class Looping(regression_task):
            def loss(self, model, batch, training):
                def body(i):
                    metrics.add("inside", batch["x"] * tf.cast(i + 1, tf.float32), finish="sum")
                    return (i + 1,)

                tf.while_loop(lambda i: i < 2, body, [tf.constant(0)])
                return super().loss(model, batch, training)

        seen = []
        trainer = make_trainer(
            Looping(), data=17, replicas=2, train_steps=4, evaluate=True, actions=[lambda _, s: seen.append(s)]
        )
        try:
            trainer.train_and_eval()
        except UsageError as error:
            assert "'inside'" in str(error)  # noqa: PT017 (saying so is as good)
            return
        total = 3 * rows(17)["x"].astype(np.float64).sum()
        assert [s.metrics["inside"] for s in seen] == [
            pytest.approx(2 * total, rel=1e-5),
            pytest.approx(total, rel=1e-5),
        ]
        assert [s.counts["inside"] for s in seen] == [2 * 2 * 17 * 3, 2 * 17 * 3]

    def test_of_own_steps(self, regression_task, make_trainer, rows):
        """train_step and eval_step may differ from loss; the metric functions get the outputs."""

        class Own(regression_task):
            def __init__(self):
                self.metrics = {"group": {"hits": lambda batch, outputs: (tf.reduce_sum(outputs), tf.size(batch["y"]))}}

            def train_step(self, model, batch):
                return self.loss(model, batch, training=True), tf.ones_like(batch["y"])

            def eval_step(self, model, batch):
                losses = self.loss(model, batch, training=False)
                return Tally(2 * tf.reduce_sum(losses), tf.size(losses)), 3 * tf.ones_like(batch["y"])

        seen = []
        trainer = make_trainer(
            Own(),
            data=20,
            replicas=2,
            train_steps=2,
            evaluate=True,
            actions=[lambda _, summary: seen.append(summary)],
        )
        evaluated = trainer.train_and_eval()["test"]
        assert [(s.step, s.split, s.metrics["group/hits"]) for s in seen] == [(2, "train", 1.0), (2, "eval", 3.0)]
        data, (kernel, bias) = rows(20), trainer.model.get_weights()
        errors = data["x"].astype(np.float64) @ kernel[:, 0] + bias - data["y"]
        assert evaluated == {"loss": pytest.approx(2 * np.mean(errors**2), rel=1e-6), "group/hits": 3.0}
