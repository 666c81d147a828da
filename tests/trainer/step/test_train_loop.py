"""The training trajectory, against one worked out in NumPy, float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.data.feeds import array_feed
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer import NonFiniteError

RATE = 0.02


def batches(data, size, steps):
    """The global batches of `steps` steps: in order, each epoch's last one short."""
    n = len(data["x"])
    starts = range(0, n, size)
    for step in range(steps):
        start = starts[step % len(starts)]
        yield {key: value[start : start + size].astype(np.float64) for key, value in data.items()}


def gradient(w, batch, weights=None):
    """d/dw of the weighted mean of (x w + b - y)^2; w is (w_1, w_2, w_3, b)."""
    x = np.concatenate([batch["x"], np.ones([len(batch["x"]), 1])], 1)
    weights = np.ones(len(x)) if weights is None else weights
    errors = x @ w - batch["y"]
    return 2 * (weights * errors) @ x / weights.sum(), (weights * errors**2).sum()


def descend(data, steps, size=16, weight=None, penalty=0.0):
    """Plain SGD; returns (w, the sum of all losses)."""
    w, total = np.zeros(4), 0.0
    for batch in batches(data, size, steps):
        g, loss = gradient(w, batch, None if weight is None else batch[weight])
        total += loss
        w = w - RATE * (g + 2 * penalty * w * [1, 1, 1, 0])
    return w, total


@pytest.mark.parametrize("replicas", [1, 2, 4])
@pytest.mark.parametrize("n", [103, 97])
def test_weights_and_losses_are_those_of_one_device(make_trainer, weights_of, rows, n, replicas):
    """103 = 6 * 16 + 7 and 97 = 6 * 16 + 1: with 4 replicas, three have no example of the last batch."""
    seen = []
    trainer = make_trainer(
        data=n, replicas=replicas, train_steps=17, summary_interval=8, actions=[lambda _, s: seen.append(s)]
    )
    trainer.train()
    examples, summed = 0, 0.0
    for summary, steps in zip(seen, (8, 16), strict=False):
        count = sum(len(batch["x"]) for batch in batches(rows(n), 16, steps)) - examples
        loss = descend(rows(n), steps)[1] - summed
        assert (summary.step, summary.split, summary.counts) == (steps, "train", {"loss": count})
        assert summary.metrics == {"loss": pytest.approx(loss / count, rel=1e-5)}
        examples, summed = examples + count, summed + loss
    np.testing.assert_allclose(weights_of(trainer), descend(rows(n), 17)[0], atol=1e-5, rtol=0)
    assert trainer.traces == {"train": 1}
    assert trainer.step == 17


@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_masked_losses_are_over_the_global_count(regression_task, make_trainer, weights_of, rows, replicas):
    """Given as a Tally; the first quarter of the first batch, one replica's share, is masked altogether."""

    class Masked(regression_task):
        def loss(self, model, batch, training):
            safe = tf.where(batch["w"] > 0, batch["y"], 0.0)
            losses = super().loss(model, {**batch, "y": safe}, training)
            metrics.add("again", losses, weights=batch["w"])
            return Tally(tf.reduce_sum(losses * batch["w"]), tf.reduce_sum(batch["w"]))

    clean = rows(39) | {"w": np.tile([0.0, 0, 0, 0, 1, 0.5, 0, 2, 1, 1, 1, 0, 3], 3).astype(np.float32)}
    data = clean | {"y": np.where(clean["w"] == 0, np.float32(np.nan), clean["y"])}
    seen = []
    trainer = make_trainer(
        Masked(),
        data=data,
        replicas=replicas,
        train_steps=7,
        evaluate=True,
        actions=[lambda _, s: seen.append(s)],
    )
    trainer.train_and_eval()
    w, total = descend(clean, 7, weight="w")
    count = sum(batch["w"].sum() for batch in batches(clean, 16, 7))
    for name in ("loss", "again"):
        assert seen[0].metrics[name] == pytest.approx(total / count, rel=1e-5)
        assert seen[0].counts[name] == count
    np.testing.assert_allclose(weights_of(trainer), w, atol=1e-5, rtol=0)


def test_regularisation_counts_once_a_step(regression_task, make_trainer, weights_of, rows):
    class Regularised(regression_task):
        def build_model(self):
            dense = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(0.3))
            return keras.Sequential([keras.Input((3,)), dense])

    trainer = make_trainer(Regularised(), data=41, replicas=2, train_steps=7)
    trainer.train()
    np.testing.assert_allclose(weights_of(trainer), descend(rows(41), 7, penalty=0.3)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("replicas", [1, 2])
def test_accumulated_steps_are_one_step_of_their_examples(make_trainer, weights_of, rows, replicas):
    """Batches of 4, 4 and 3 of 11 rows, three to an update: each update is over all 11."""
    trainer = make_trainer(data=11, batch=4, replicas=replicas, train_steps=12, gradient_accumulation=3)
    trainer.train()
    expected, _ = descend(rows(11), 4, size=11)
    np.testing.assert_allclose(weights_of(trainer), expected, atol=1e-5, rtol=0)
    assert trainer.traces == {"train": 1}
    assert trainer.step == 12


@pytest.mark.parametrize("replicas", [1, 4])
def test_an_accumulated_update_is_clipped_as_a_whole(make_trainer, weights_of, rows, replicas):
    trainer = make_trainer(
        data=11, batch=4, replicas=replicas, train_steps=6, gradient_accumulation=3, clip_global_norm=0.5
    )
    trainer.train()
    w = np.zeros(4)
    for batch in batches(rows(11), 11, 2):
        g, _ = gradient(w, batch)
        w -= RATE * g * min(1, 0.5 / np.linalg.norm(g))
    assert np.linalg.norm(w) == pytest.approx(2 * RATE * 0.5, rel=0.1)  # it does clip
    np.testing.assert_allclose(weights_of(trainer), w, atol=1e-6, rtol=0)


def test_xla_trains_the_same(make_trainer, weights_of, rows):
    trainer = make_trainer(data=40, replicas=2, train_steps=7, jit_compile=True)
    trainer.train()
    np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 7)[0], atol=1e-5, rtol=0)
    assert trainer.traces == {"train": 1}


def compiled_loops(trainer):
    """How many functions that XLA compiles have a loop in them."""
    functions = trainer._session.loop.graph.as_graph_def().library.function
    compiled = [each for each in functions if each.attr["_XlaMustCompile"].b]
    return sum(any(node.op in ("While", "StatelessWhile") for node in each.node_def) for each in compiled)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shuffle": True, "steps_per_loop": 2},
        {"drop_remainder": True},
        {"gradient_accumulation": 3, "clip_global_norm": 0.5},
        {"optimizer": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1, use_ema=True))},
    ],
    ids=["plain", "shuffled", "full batches", "accumulated", "loss scale and averages"],
)
def test_on_one_cpu_xla_compiles_the_whole_loop(make_trainer, weights_of, rows, tmp_path, arguments):
    """With short batches at the end of each epoch of 40 rows, 16 + 16 + 8; and it continues in the midst of one."""
    data = {name: arguments[name] for name in ("shuffle", "drop_remainder") if name in arguments}
    more = {name: value for name, value in arguments.items() if name not in data}

    def trained(steps=7, jit_compile=True, **options):
        seen = []
        trainer = make_trainer(
            train_dataset=Input(rows(40), 16, **data),
            train_steps=steps,
            jit_compile=jit_compile,
            actions=[lambda _, summary: seen.append(summary)],
            **more,
            **options,
        )
        trainer.train()
        return trainer, seen[-1]

    (plain, its), (whole, mine) = trained(jit_compile=False), trained()
    assert (compiled_loops(plain), compiled_loops(whole)) == (0, 1)
    assert whole.traces == {"train": 1}
    np.testing.assert_allclose(weights_of(whole), weights_of(plain), atol=1e-5, rtol=0)
    assert mine.metrics["loss"] == pytest.approx(its.metrics["loss"], rel=1e-5)
    assert mine.counts == its.counts
    trained(steps=4, model_dir=tmp_path)
    np.testing.assert_array_equal(weights_of(trained(model_dir=tmp_path)[0]), weights_of(whole))


def test_a_step_of_the_compiled_loop_that_is_not_finite_stops_it(make_trainer, weights_of, rows):
    data = rows(40)
    data["y"][35] = np.nan  # in the short batch
    trainer = make_trainer(data=data, train_steps=7, jit_compile=True)
    with pytest.raises(NonFiniteError, match=r"Step 3: not finite: loss.*batch 2 of epoch 0"):
        trainer.train()
    np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 2)[0], atol=1e-5, rtol=0)
    assert trainer.step == 2


def test_a_step_that_the_compiled_loop_leaves_out_changes_nothing_of_the_optimizer(make_trainer, rows):
    """As on the condition that an uncompiled loop has; of Adam, its counter, moments and averages."""
    data = rows(40)
    data["y"][20] = np.nan  # in the second of three batches: steps 2 and 5 of 7

    def trained(jit_compile):
        optimizer = keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2)
        arguments = {"data": data, "train_steps": 7, "on_nonfinite": "skip", "optimizer": lambda: optimizer}
        make_trainer(jit_compile=jit_compile, **arguments).train()
        return optimizer

    expected, found = trained(False), trained(True)
    assert int(found.iterations) == int(expected.iterations) == 5
    for one, other in zip(found.variables, expected.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5, rtol=1e-5, err_msg=one.path)


class Wrapped(keras.optimizers.Optimizer):
    """An optimizer of a user's own: the variables of the one inside are not among its own."""

    def __init__(self):
        super().__init__(learning_rate=0.1)
        self.inside = keras.optimizers.Adam(0.05)

    def build(self, variables):
        super().build(variables)
        self.inside.build(variables)

    def apply(self, gradients, trainable_variables=None):
        self.inside.apply(gradients, trainable_variables)
        self.iterations.assign_add(1)


def conditions(trainer):
    """How many functions of the loop have a condition."""
    functions = trainer._session.loop.graph.as_graph_def().library.function
    return sum(any(node.op in ("If", "StatelessIf") for node in each.node_def) for each in functions)


def test_nor_of_an_optimizer_whose_state_nobody_knows(make_trainer, rows, weights_of):
    data = rows(40)
    data["y"][20] = np.nan

    def trained(jit_compile, optimizer=Wrapped):
        arguments = {"data": data, "train_steps": 7, "on_nonfinite": "skip", "optimizer": optimizer}
        trainer = make_trainer(jit_compile=jit_compile, **arguments)
        trainer.train()
        return trainer

    expected, found = trained(False), trained(True)
    np.testing.assert_allclose(weights_of(found), weights_of(expected), atol=1e-5, rtol=0)
    assert found._session._optimizer.inside.iterations.numpy() == 5
    assert conditions(found) == 1  # which XLA pays for: the next one does not
    assert conditions(trained(True, keras.optimizers.Adam)) == 0


def test_a_gradient_of_another_shape_is_refused(regression_task, make_trainer):
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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_beyond_those_planned_at_once_are_of_their_own_rows(
    make_trainer, weights_of, rows, monkeypatch, jit_compile
):
    """Plans of 5 steps, loops of 2 or 1, epochs of 3."""
    monkeypatch.setattr(array_feed, "_STEPS_PLANNED", 5)
    trainer = make_trainer(data=40, train_steps=14, summary_interval=7, steps_per_loop=2, jit_compile=jit_compile)
    trainer.train()
    np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 14)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("replicas", [1, 2])
def test_what_xla_has_not_is_named(regression_task, make_trainer, replicas):
    class Wordy(regression_task):
        def loss(self, model, batch, training):
            losses = super().loss(model, batch, training)
            return losses + 0 * tf.cast(tf.strings.length(tf.strings.as_string(losses)), tf.float32)

    with pytest.raises(UsageError, match=r"Trainer.jit_compile = True: XLA has no .*AsString.*jit_compile = False"):
        make_trainer(Wordy(), replicas=replicas, jit_compile=True).train()


def test_a_stream_trains_as_the_arrays_do(make_trainer, weights_of, rows):
    """Of unknown length: 35 rows are 3 batches an epoch, the last of 3."""
    data = rows(35)

    def source():
        return tf.data.Dataset.from_tensor_slices(data).filter(lambda example: True)

    trainer = make_trainer(
        replicas=2,
        train_dataset=Input(source, 16),
        eval_datasets={"test": Input(source, 16)},
        train_steps=7,
        steps_per_loop=2,
    )
    found = trainer.train_and_eval()
    w, _ = descend(data, 7)
    np.testing.assert_allclose(weights_of(trainer), w, atol=1e-5, rtol=0)
    exact = gradient(w, {key: value.astype(np.float64) for key, value in data.items()})[1] / 35
    assert found == {"test": {"loss": pytest.approx(exact, rel=1e-4)}}
    assert trainer.summaries()["test"].counts == {"loss": 35}
    assert trainer.traces == {"train": 1, "eval/test": 1}


def test_how_steps_are_cut_into_loops_does_not_matter(make_trainer, weights_of):
    whole = make_trainer(train_steps=7)
    cut = make_trainer(
        train_steps=7,
        steps_per_loop=2,
        summary_interval=3,
        eval_interval=5,
        evaluate=True,
        checkpoint_interval=4,
    )
    whole.train()
    cut.train_and_eval()
    np.testing.assert_array_equal(weights_of(whole), weights_of(cut))


def test_loss_is_called_once_a_trace(regression_task, make_trainer):
    calls = []

    class Counted(regression_task):
        def loss(self, model, batch, training):
            calls.append(training)
            return super().loss(model, batch, training)

    trainer = make_trainer(Counted(), data=35, train_steps=7, steps_per_loop=2, eval_interval=3, evaluate=True)
    trainer.train_and_eval()
    trainer.evaluate()
    assert sorted(calls) == [False, True]
    assert trainer.traces == {"train": 1, "eval/test": 1}


def test_the_loss_is_a_name_that_is_taken(regression_task, make_trainer):
    """What a task adds as `loss` would mix with the losses it returns."""

    class Mixed(regression_task):
        def loss(self, model, batch, training):
            losses = super().loss(model, batch, training)
            metrics.add("loss", 100 + losses)
            return losses

    with pytest.raises(UsageError, match="'loss'"):
        make_trainer(Mixed(), train_steps=1).train()


def test_a_finish_written_in_the_call_works_on_several_replicas(regression_task, make_trainer):
    class Shown(regression_task):
        def loss(self, model, batch, training):
            metrics.add("ones", tf.ones_like(batch["y"]), finish=lambda value, count: value / count + 1)
            return super().loss(model, batch, training)

    seen = []
    action = lambda _, summary: seen.append(summary.metrics["ones"])  # noqa: E731
    make_trainer(Shown(), replicas=2, train_steps=1, evaluate=True, actions=[action]).train_and_eval()
    assert seen == [2.0, 2.0]


def test_a_metric_inside_a_while_loop_is_exact_or_refused_by_name(regression_task, make_trainer, rows):
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


def test_variables_that_the_loss_does_not_touch_stay(regression_task, make_trainer):
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


def test_rows_of_an_embedding(make_trainer, regression_task):
    """Its gradients are sparse, a row may come twice, and the norm is that of the summed rows."""

    class Embedded(regression_task):
        def build_model(self):
            layer = keras.layers.Embedding(4, 1, embeddings_initializer="zeros")
            return keras.Sequential([keras.Input((), dtype="int32"), layer])

    data = {"x": np.array([0, 1, 1, 3], np.int32), "y": np.array([4.0, 1, 2, 8], np.float32)}
    trainer = make_trainer(Embedded(), data=data, replicas=2, train_steps=1, clip_global_norm=1.0)
    trainer.train()
    g = np.array([2 * -4.0, 2 * -3, 0, 2 * -8]) / 4
    expected = -RATE * g / np.linalg.norm(g)
    np.testing.assert_allclose(trainer.model.get_weights()[0][:, 0], expected, atol=1e-7)


def test_batch_norm_with_fewer_examples_than_replicas_stays_finite(regression_task, make_trainer):
    class Normed(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])

    trainer = make_trainer(Normed(), data=17, replicas=4, train_steps=4, evaluate=True)
    assert np.isfinite(trainer.train_and_eval()["test"]["loss"])
    for weight in trainer.model.weights:
        assert np.isfinite(weight.numpy()).all(), weight.path


def test_a_run_inside_the_strategys_scope_trains_or_says_what_to_do(make_trainer, mirrored_on, weights_of, rows):
    """Loops written after the TensorFlow guides stand in one."""
    with mirrored_on(2).scope():
        trainer = make_trainer(replicas=2, train_steps=2)
        try:
            trainer.train()
        except UsageError as error:
            assert "scope" in str(error)  # noqa: PT017 (saying so is as good)
            return
    np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 2)[0], atol=1e-5, rtol=0)
