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


def compiled_loops(trainer):
    """How many functions that XLA compiles have a loop in them."""
    functions = trainer._session.loop.graph.as_graph_def().library.function
    compiled = [each for each in functions if each.attr["_XlaMustCompile"].b]
    return sum(any(node.op in ("While", "StatelessWhile") for node in each.node_def) for each in compiled)


def conditions(trainer):
    """How many functions of the loop have a condition."""
    functions = trainer._session.loop.graph.as_graph_def().library.function
    return sum(any(node.op in ("If", "StatelessIf") for node in each.node_def) for each in functions)


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


class TestTrajectory:
    @pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow), 4])
    @pytest.mark.parametrize("n", [103, 97])
    def test_equals_one_device(self, make_trainer, weights_of, rows, n, replicas):
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
            assert (summary.step, summary.split, summary.counts["loss"]) == (steps, "train", count)
            assert summary.metrics == {
                "loss": pytest.approx(loss / count, rel=1e-5),
                "learning_rate": pytest.approx(RATE),
            }
            examples, summed = examples + count, summed + loss
        np.testing.assert_allclose(weights_of(trainer), descend(rows(n), 17)[0], atol=1e-5, rtol=0)
        assert trainer.traces == {"train": 1}
        assert trainer.step == 17

    @pytest.mark.parametrize("replicas", [1, 2, 4])
    def test_masked_losses(self, regression_task, make_trainer, weights_of, rows, replicas):
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

    def test_regularisation(self, regression_task, make_trainer, weights_of, rows):
        class Regularised(regression_task):
            def build_model(self):
                dense = keras.layers.Dense(1, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(0.3))
                return keras.Sequential([keras.Input((3,)), dense])

        trainer = make_trainer(Regularised(), data=41, replicas=2, train_steps=7)
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), descend(rows(41), 7, penalty=0.3)[0], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_accumulation(self, make_trainer, weights_of, rows, replicas):
        """Batches of 4, 4 and 3 of 11 rows, three to an update: each update is over all 11."""
        trainer = make_trainer(data=11, batch=4, replicas=replicas, train_steps=12, gradient_accumulation=3)
        trainer.train()
        expected, _ = descend(rows(11), 4, size=11)
        np.testing.assert_allclose(weights_of(trainer), expected, atol=1e-5, rtol=0)
        assert trainer.traces == {"train": 1}
        assert trainer.step == 12

    @pytest.mark.parametrize("replicas", [1, 4])
    def test_clipped_accumulation(self, make_trainer, weights_of, rows, replicas):
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

    def test_stream(self, make_trainer, weights_of, rows):
        """Of unknown length: 35 rows are 3 batches an epoch, the last of 3."""
        data = rows(35)

        def source():
            return tf.data.Dataset.from_tensor_slices(data).filter(lambda example: True)

        trainer = make_trainer(
            replicas=2,
            train_dataset=Input(source, 16, shuffle=False),
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

    def test_inside_a_strategys_scope(self, make_trainer, mirrored_on, weights_of, rows):
        """Loops written after the TensorFlow guides stand in one."""
        with mirrored_on(2).scope():
            trainer = make_trainer(replicas=2, train_steps=2)
            try:
                trainer.train()
            except UsageError as error:
                assert "scope" in str(error)  # noqa: PT017 (saying so is as good)
                return
        np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 2)[0], atol=1e-5, rtol=0)


class TestLoops:
    """How steps are cut into inner loops changes nothing."""

    def test_cut_by_intervals(self, make_trainer, weights_of):
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

    @pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_any_length(self, make_trainer, weights_of, jit_compile, tmp_path):
        found = []
        for steps_per_loop in (1, 5, "auto"):
            trainer = make_trainer(data=41, train_steps=30, steps_per_loop=steps_per_loop, jit_compile=jit_compile)
            trainer.train()
            found.append(weights_of(trainer))
            assert trainer.traces == {"train": 1}
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_more_steps_than_planned(self, make_trainer, weights_of, rows, monkeypatch, jit_compile):
        """Plans of 5 steps, loops of 2 or 1, epochs of 3."""
        monkeypatch.setattr(array_feed, "_STEPS_PLANNED", 5)
        trainer = make_trainer(data=40, train_steps=14, summary_interval=7, steps_per_loop=2, jit_compile=jit_compile)
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 14)[0], atol=1e-4, rtol=0)

    def test_traces_once(self, regression_task, make_trainer):
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


class TestXla:
    def test_trains_the_same(self, make_trainer, weights_of, rows):
        trainer = make_trainer(data=40, replicas=2, train_steps=7, jit_compile=True)
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 7)[0], atol=1e-5, rtol=0)
        assert trainer.traces == {"train": 1}

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param({}, id="plain", marks=pytest.mark.slow),
            pytest.param({"shuffle": True, "steps_per_loop": 2}, id="shuffled"),
            pytest.param({"drop_remainder": True}, id="full batches", marks=pytest.mark.slow),
            pytest.param(
                {"gradient_accumulation": 3, "clip_global_norm": 0.5}, id="accumulated", marks=pytest.mark.slow
            ),
            pytest.param(
                {"optimizer": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1, use_ema=True))},
                id="loss scale and averages",
                marks=pytest.mark.slow,
            ),
        ],
    )
    def test_compiles_the_whole_loop(self, make_trainer, weights_of, rows, tmp_path, arguments):
        """With short batches at the end of each epoch of 40 rows, 16 + 16 + 8; and it continues in the midst of one."""
        data = {"shuffle": False} | {
            name: arguments[name] for name in ("shuffle", "drop_remainder") if name in arguments
        }
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

    @pytest.mark.parametrize("convolution", [False, True])
    def test_compiles_no_loop_with_a_convolution(self, make_trainer, regression_task, rows, convolution):
        """What is called within the loop is compiled then, and not the loop with its steps."""

        class Task(regression_task):
            def build_model(self):
                layers = [keras.layers.Reshape((3, 1)), keras.layers.Conv1D(2, 2), keras.layers.Flatten()]
                return keras.Sequential([keras.Input((3,)), *(layers if convolution else ()), keras.layers.Dense(1)])

        trainer = make_trainer(Task(), train_dataset=Input(rows(16), 16), train_steps=2, jit_compile=True)
        trainer.train()
        functions = {f.signature.name: f for f in trainer.session.loop.graph.as_graph_def().library.function}
        compiled = [f for f in functions.values() if f.attr["_XlaMustCompile"].b]
        assert compiled
        assert any(node.op in ("While", "StatelessWhile") for f in compiled for node in f.node_def) is not convolution

    def test_stops_at_a_nan(self, make_trainer, weights_of, rows):
        data = rows(40)
        data["y"][35] = np.nan  # in the short batch
        trainer = make_trainer(data=data, train_steps=7, jit_compile=True)
        with pytest.raises(NonFiniteError, match=r"Step 3: not finite: loss.*batch 2 of epoch 0"):
            trainer.train()
        np.testing.assert_allclose(weights_of(trainer), descend(rows(40), 2)[0], atol=1e-5, rtol=0)
        assert trainer.step == 2

    def test_skipped_step_keeps_the_optimizer(self, make_trainer, rows):
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

    @pytest.mark.slow
    def test_skipped_step_of_a_wrapped_optimizer(self, make_trainer, rows, weights_of):
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

    @pytest.mark.parametrize(
        "options",
        [{}, pytest.param({"gradient_accumulation": 3}, marks=pytest.mark.slow)],
        ids=["plain", "accumulated"],
    )
    def test_compiles_the_step_of_a_stream(self, make_trainer, weights_of, rows, options):
        """The update, too; with a short batch at the end of each epoch, and a step that is skipped."""
        data = rows(40)
        data["y"][20] = np.nan  # in the second of three batches: steps 2 and 5 of 7

        def trained(source, jit_compile):
            trainer = make_trainer(
                train_dataset=Input(source, 16, shuffle=False),
                optimizer=lambda: keras.optimizers.Adam(0.1),
                train_steps=7,
                on_nonfinite="skip",
                jit_compile=jit_compile,
                **options,
            )
            trainer.train()
            return trainer

        compiled = trained(tf.data.Dataset.from_tensor_slices(data), True)
        np.testing.assert_allclose(weights_of(compiled), weights_of(trained(data, False)), atol=1e-5, rtol=0)
        functions = compiled._session.loop.graph.as_graph_def().library.function
        (step,) = [each for each in functions if each.attr["_XlaMustCompile"].b]
        assert {"AssignAddVariableOp", "MatMul"} <= {node.op for node in step.node_def}

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_names_what_it_lacks(self, regression_task, make_trainer, replicas):
        class Wordy(regression_task):
            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                return losses + 0 * tf.cast(tf.strings.length(tf.strings.as_string(losses)), tf.float32)

        with pytest.raises(UsageError, match=r"Trainer.jit_compile = True: XLA has no .*AsString.*jit_compile = False"):
            make_trainer(Wordy(), replicas=replicas, jit_compile=True).train()

    @pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("by_number", [False, True])
    def test_refuses_strings_before_the_folder_is_made(self, make_trainer, rows, tmp_path, replicas, by_number):
        data = {**rows(40), "about": {"id": np.array(["a"] * 40)}}
        source = [{**{key: data[key][row] for key in ("x", "y")}, "about": {"id": "a"}} for row in range(40)]
        dataset = Input(source if by_number else data, 16)
        with pytest.raises(UsageError, match="jit_compile = True: the train batch has strings, 'about/id', which XLA"):
            make_trainer(train_dataset=dataset, replicas=replicas, jit_compile=True, model_dir=tmp_path / "run").train()
        assert not (tmp_path / "run").exists()
