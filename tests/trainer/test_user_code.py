"""Mistakes in a task, told by the user's line."""

import inspect
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.checks import one_of
from tallyloop.data.messages import user_frames
from tallyloop.metrics import Tally, UsageError
from tallyloop.metrics.errors import DataError
from tallyloop.models import ClassifierTask, mlp
from tallyloop.trainer import user_code
from tallyloop.trainer.user_code import Place, on_replica, place_of, raised_in_a_step, traced_on

PLACE = Place("train", "Trainer.train_dataset")


@pytest.fixture
def refused(make_trainer, regression_task):
    """refused(loss, **arguments) -> the message for a task with this `loss(model, batch)`, and where that is defined."""

    def train(loss, **arguments):
        class Mistaken(regression_task):
            pass

        def method(self, model, batch, training):
            return loss(model, batch)

        Mistaken.loss = method
        with pytest.raises(UsageError) as caught:
            make_trainer(Mistaken(), train_steps=1, **arguments).train()
        return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])

    return train


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


def wrong_key(model, batch):
    return model(batch["features"])  # the wrong key


def wrong_shape(model, batch):
    return tf.matmul(batch["x"], tf.ones([5, 2]))  # the wrong shape


def to_numpy(model, batch):
    return np.square(np.asarray(model(batch["x"])))  # NumPy


def branching(model, batch):
    if tf.reduce_sum(batch["x"]) > 0:  # a tensor as a condition
        return model(batch["x"])


def as_float(model, batch):
    return float(tf.reduce_mean(model(batch["x"])))  # a float


def as_value(model, batch):
    return model(batch["x"]).numpy()  # a value


def wide_model(model, batch):
    return keras.Sequential([keras.Input((7,)), keras.layers.Dense(1)])(batch["x"])  # another width


class TestRaised:
    @pytest.mark.parametrize(
        ("loss", "comment", "fragments"),
        [
            (wrong_key, "# the wrong key", ["KeyError: 'features'"]),
            (wrong_shape, "# the wrong shape", ["are 3 and 5 for MatMul with input shapes: [?,3], [5,2]"]),
            (to_numpy, "# NumPy", ["use tf or keras.ops instead of NumPy"]),
            (as_float, "# a float", ["have no values: use them without .numpy(), .item(), float() or int()"]),
            (as_value, "# a value", ["'SymbolicTensor' object has no attribute 'numpy'", "metrics.add records them"]),
            (branching, "# a tensor as", ["use tf.where or tf.cond instead of Python's if"]),
            (
                wide_model,
                "# another width",
                ["to have value 7, but received input with shape (None, 3)", "change the model, or"],
            ),
        ],
    )
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_is_reported_with_its_line_and_batch(self, refused, loss, comment, fragments, replicas):
        message = refused(loss, replicas=replicas)
        source = inspect.getsource(loss).splitlines()
        line = next(each.strip() for each in source if comment in each)
        assert message.startswith(f"{line_of(loss, comment)}, in {loss.__name__}: {line}\n")
        for fragment in [*fragments, "A batch of Trainer.train_dataset: 'x' float32(batch, 3), 'y' float32(batch)."]:
            assert fragment in message
        on = "" if replicas == 1 else ", replica 0 of 2"
        assert f"\n  Split train, before the first step{on}.\n" in message.replace(", replica 0 of 1", "")
        assert len(message.splitlines()) <= 12
        assert "{{" not in message
        assert "\x1b" not in message

    def test_names_the_eval_dataset(self, make_trainer, regression_task):
        class Mistaken(regression_task):
            def eval_step(self, model, batch):
                return wrong_key(model, batch)

        with pytest.raises(UsageError, match=r"A batch of Trainer.eval_datasets\['test'\]: 'x' float32"):
            make_trainer(Mistaken(), evaluate=True).train_and_eval()

    def test_shows_the_users_frames_from_the_innermost_out(self, refused):
        def outer(model, batch):
            return wrong_key(model, batch)  # the caller

        first, _, caller, *others = refused(outer).splitlines()
        assert first.startswith(f"{line_of(wrong_key, '# the wrong key')}, in wrong_key: ")
        assert (
            caller
            == f"  called by {line_of(outer, '# the caller')}, in outer: return wrong_key(model, batch)  # the caller"
        )
        # Then `method`, which called it; but neither what calls the Trainer nor the Trainer's own.
        assert [each.partition(", in ")[2].partition(":")[0] for each in others if "called by" in each] == ["method"]

    def test_in_a_layer(self, make_trainer, layered):
        class Broken(keras.layers.Layer):
            def call(self, x):
                return tf.matmul(x, tf.ones([5, 2]))  # in the layer

        with pytest.raises(UsageError) as caught:
            make_trainer(layered(Broken), train_steps=1).train()
        assert str(caught.value).startswith(f"{line_of(Broken.call, '# in the layer')}, in call: ")
        assert "Split train, before the first step" in str(caught.value)

    def test_in_an_evaluation_alone(self, make_trainer, regression_task):
        class Mistaken(regression_task):
            def eval_step(self, model, batch):
                return wrong_key(model, batch)

        with pytest.raises(UsageError) as caught:
            make_trainer(Mistaken(), evaluate=True).evaluate()
        first, reason, _, place, batch = str(caught.value).splitlines()
        assert first.startswith(f"{line_of(wrong_key, '# the wrong key')}, in wrong_key: ")
        assert reason == "  KeyError: 'features'"
        assert place.startswith("  Split eval, before the first step")
        assert batch == "  A batch of Trainer.eval_datasets['test']: 'x' float32(batch, 3), 'y' float32(batch)."

    @pytest.mark.parametrize(
        "use", [lambda trainer, data: trainer.evaluate(), lambda trainer, data: trainer.predict(data)]
    )
    def test_while_the_model_is_built(self, make_trainer, regression_task, rows, use):
        class Mistaken(regression_task):
            def build_model(self):
                return keras.Sequential([keras.layers.Dense(1)])

            def loss(self, model, batch, training):
                return wrong_key(model, batch)

        with pytest.raises(
            UsageError, match=r"\n  While the model is built.\n  A batch of the first dataset of the Trainer: 'x'"
        ):
            use(make_trainer(Mistaken(), evaluate=True), Input(rows(3), 2))

    @pytest.mark.parametrize("shape", [[4, 2], [4]])
    def test_of_data_that_does_not_fit_the_model(self, make_trainer, shape):
        """Which no line of the user's has called."""
        with pytest.raises(UsageError) as caught:
            make_trainer().predict(Input({"x": np.zeros(shape, np.float32)}, 2))
        message = str(caught.value)
        assert message.startswith("Trainer.predict: the model does not take its batches.\n  ValueError: Exception ")
        assert "\n  The data does not fit the model: change the model, or the dataset's Input.source or" in message
        assert f"\n  A batch of Trainer.predict: 'x' float32({', '.join(['batch', *map(str, shape[1:])])})." in message
        assert "unbatch" not in message

    def test_looks_batched_already(self, refused):
        source = tf.data.Dataset.from_tensor_slices({"x": np.zeros([4, 16, 3], "f"), "y": np.zeros([4, 16], "f")})
        message = refused(lambda model, batch: model(batch["x"]), data=lambda: source)
        assert "if the source is batched already, unbatch() it" in message

    def test_what_no_user_called_passes(self, monkeypatch):
        monkeypatch.setattr(user_frames, "_NOT_USERS", (*user_frames._NOT_USERS, __file__))
        with pytest.raises(ZeroDivisionError), traced_on(PLACE, lambda: None):
            _ = 1 / 0

    def test_one_of_the_data_has_no_suffix_though_a_function_of_the_user_was_mapped(self):
        def mapped(call):
            call()

        with pytest.raises(UsageError) as caught, traced_on(PLACE, lambda: None):
            mapped(lambda: one_of("csv.column", "", ("a", "b")))
        assert not getattr(caught.value, "__notes__", [])

    def test_of_an_operation_or_a_file_in_the_step(self, refused):
        def missing(model, batch):
            return open("/no/such/vocabulary")  # a file

        message = refused(missing)
        assert message.startswith(f"{line_of(missing, '# a file')}, in missing: ")
        assert "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/vocabulary'" in message

    @pytest.mark.parametrize("error", [FileNotFoundError("a.npz"), DataError("example 3")])
    def test_one_of_a_file_has_no_suffix(self, error):
        with pytest.raises(type(error)) as caught, traced_on(PLACE, lambda: None):
            raise error
        assert not getattr(caught.value, "__notes__", [])


class TestMapFunction:
    def test_is_reported_with_its_line_though_autograph_has_rewritten_it(self, rows):
        def broken(example):
            return {**example, "z": missing(example)}  # calls it

        def missing(example):
            return example["nothing"]  # no such key

        with pytest.raises(UsageError) as caught:
            Input(rows(8), 4, map_fn=broken).open_train()
        first, reason, caller, place = str(caught.value).splitlines()
        assert first == f'{line_of(missing, "# no such")}, in missing: return example["nothing"]  # no such key'
        assert reason == "  KeyError: 'nothing'"
        assert caller.startswith(f"  called by {line_of(broken, '# calls it')}, in broken: ")
        assert place == "  In Input.map_fn, traced on an example: {'x': 'float32 (3,)', 'y': 'float32 ()'}."

    def test_has_no_other_place_in_a_run(self, make_trainer, rows):
        data = Input(rows(8), 4, map_fn=lambda example: example["nothing"])
        with pytest.raises(UsageError, match=r"KeyError: 'nothing'\n(.*\n)*  In Input.map_fn") as caught:
            make_trainer(train_dataset=data).train()
        assert getattr(caught.value, "__notes__", []) == []


class TestCalled:
    def test_with_other_parameters(self, make_trainer, regression_task):
        class Mistaken(regression_task):
            def loss(self, model, batch):
                return model(batch["x"])

        with pytest.raises(
            UsageError,
            match=r"in loss: .*unexpected keyword argument 'training': expected the parameters \(model, batch, training\)",
        ) as caught:
            make_trainer(Mistaken(), train_steps=1).train()
        assert str(caught.value).startswith(line_of(Mistaken.loss, "def loss"))

    def test_of_a_step_of_its_own(self, make_trainer, regression_task):
        class Mistaken(regression_task):
            def train_step(self, iterator):
                return self.loss(self.model, next(iterator), training=True)

        with pytest.raises(UsageError, match=r"in train_step: .*: expected the parameters \(model, batch\)\.$"):
            make_trainer(Mistaken(), train_steps=1).train()


def meets_at_run_time(model, batch):
    return tf.matmul(model(batch["x"]), tf.reshape(batch["x"], [-1, 1]))[:, 0]  # only the run knows both sizes


def in_python(model, batch):
    def broken(x):
        raise ValueError("inside Python")  # what broke

    return tf.numpy_function(broken, [model(batch["x"])], tf.float32)


class TestRaisedInAStep:
    @pytest.mark.parametrize(
        ("loss", "comment", "fragment"),
        [
            (
                meets_at_run_time,
                "# only the run",
                "InvalidArgumentError: Matrix size-incompatible: In[0]: [16,1], In[1]: [48,1]",
            ),
            (in_python, "# what broke", "ValueError: inside Python"),
        ],
    )
    def test_is_reported_with_its_line(self, refused, loss, comment, fragment):
        message = refused(lambda model, batch: model(batch["x"])[:, 0] + tf.stop_gradient(loss(model, batch)))
        assert message.startswith(line_of(loss, comment))
        assert fragment in message
        assert len(message.splitlines()) <= 12
        assert "\n  Split train, step 1, replica 0.\n" in message
        assert message.endswith("  A batch of Trainer.train_dataset: 'x' float32(batch, 3), 'y' float32(batch).")

    def test_names_the_steps_the_replica_and_the_reason(self, make_trainer, regression_task, rows):
        class Checking(regression_task):
            def loss(self, model, batch, training):
                with tf.control_dependencies([below(batch["y"])]):
                    return super().loss(model, batch, training)

        def below(y):
            return tf.debugging.assert_less(y, 1e6, message="too large")  # what fails

        data = rows(64)
        data["y"][2 * 16 + 12] = 2e6  # in the third step, in the second half of its batch
        trainer = make_trainer(Checking(), data, replicas=2, train_steps=4, steps_per_loop=2, seed=0)
        with pytest.raises(UsageError) as caught:
            trainer.train()
        first, reason, caller, *others = str(caught.value).splitlines()
        assert first.startswith(f"{line_of(below, '# what fails')}, in below: return tf.debugging")
        assert reason.startswith("  InvalidArgumentError: assertion failed: [too large]")
        assert caller.startswith(f"  called by {line_of(Checking.loss, 'below(')}, in loss: with tf.control_dep")
        assert others == [
            "  Split train, one of the steps 2 to 3 (Trainer.steps_per_loop = 1 tells which), replica 1.",
            "  A batch of Trainer.train_dataset: 'x' float32(batch, 3), 'y' float32(batch).",
        ]

    def test_in_an_evaluation(self, make_trainer, regression_task):
        class Mistaken(regression_task):
            def eval_step(self, model, batch):
                return meets_at_run_time(model, batch)

        with pytest.raises(UsageError) as caught:
            make_trainer(Mistaken(), evaluate=True, train_steps=2).train_and_eval()
        assert "\n  Split eval, after step 2, replica 0.\n" in str(caught.value)
        assert "A batch of Trainer.eval_datasets['test']: 'x'" in str(caught.value)

    def test_of_an_operation_that_onednn_has_replaced(self, monkeypatch):
        """Whose message has no line: the graph that was traced knows it, unless another one has the same name."""
        monkeypatch.setattr(user_code, "_graphs", weakref.WeakKeyDictionary())

        def traced(loss):
            @tf.function(autograph=False)
            def loop(x):
                def step(i, total):
                    with on_replica(tf.distribute.get_replica_context()):
                        return i + 1, total + tf.reduce_sum(loss(lambda x: x, {"x": x}))

                return tf.while_loop(lambda i, _: i < 2, step, (0, 0.0))

            return loop.get_concrete_function(tf.TensorSpec([None, 3]))

        kept = [traced(meets_at_run_time)]
        text = (
            "Graph execution error:\n\nDetected at node while/body/_1/while/MatMul defined at (most recent call last):\n"
            "<stack traces unavailable>\nThey do not fit.\n\t [[{{node while/body/_1/while/MatMul}}]] [Op:__inference_loop_3]"
        )
        told = raised_in_a_step(tf.errors.InvalidArgumentError(None, None, text))
        assert told.startswith(line_of(meets_at_run_time, "# only the run"))
        assert "They do not fit." in told
        other = text.replace("MatMul", "Conv2D")
        assert raised_in_a_step(tf.errors.InvalidArgumentError(None, None, other)) is None
        kept.append(traced(lambda model, batch: tf.matmul(batch["x"], batch["x"], transpose_b=True)))
        assert raised_in_a_step(tf.errors.InvalidArgumentError(None, None, text)) is None

    def test_of_a_bundled_task(self, make_trainer):
        """A label that its model does not know, in a row that the check of the first batch has not seen."""
        rows = [{"x": np.zeros(3, np.float32), "y": np.int64(row % 3)} for row in range(100)]
        rows[-1]["y"] = np.int64(11)
        task = ClassifierTask(model=lambda: mlp((4,), num_classes=3))
        trainer = make_trainer(task, train_dataset=Input(lambda: rows, 32, shuffle=False), train_steps=10)
        with pytest.raises(
            UsageError, match=r"label value of 11 which is outside the valid range of \[0, 3\)"
        ) as caught:
            trainer.train()
        assert "A batch of Trainer.train_dataset: 'x' float32(batch, 3), 'y' int64(batch)" in str(caught.value)

    def test_of_nobodys_line(self):
        assert raised_in_a_step(tf.errors.InvalidArgumentError(None, None, "no line at all")) is None


class TestAction:
    def test_is_named_with_its_summary(self, make_trainer):
        def broken(trainer, summary):
            raise ZeroDivisionError("in an action")

        with pytest.raises(ZeroDivisionError) as caught:
            make_trainer(train_steps=2, actions=[broken]).train()
        place = f"{line_of(broken, 'raise')}, in broken"
        assert f"(Trainer.actions: broken, after the train summary of step 2, at {place})" in caught.value.__notes__

    def test_that_we_refuse_is_named_too(self, make_trainer):
        def stops(trainer, summary):
            trainer.stop(None)  # no reason

        with pytest.raises(UsageError, match=r"trainer.stop\(reason\): reason = None") as caught:
            make_trainer(train_steps=2, actions=[stops]).train()
        assert f", at {line_of(stops, '# no reason')}, in stops)" in caught.value.__notes__[0]


class TestReturned:
    @pytest.mark.parametrize(
        ("losses", "fragment"),
        [
            (lambda out: None, "returned None: expected one loss per example, .*Does it lack a `return`?"),
            (
                lambda out: {"a": out},
                r"returned a dict of \['a'\]: expected one loss per example.*metrics.composite_loss",
            ),
            (lambda out: (out, out, out), "returned a tuple of 3: expected one loss per example"),
            (lambda out: tf.reduce_mean(out), "returned a scalar.*expected one loss per example"),
            (
                lambda out: Tally(out[:, 0], tf.ones_like(out[:, 0])),
                r"returned a Tally of shapes \(None,\).*expected two scalars",
            ),
            (lambda out: tf.RaggedTensor.from_tensor(out), "returned a RaggedTensor: expected one loss per example"),
        ],
    )
    def test_is_reported_with_its_method(self, make_trainer, regression_task, losses, fragment):
        class Mistaken(regression_task):
            def loss(self, model, batch, training):
                return losses(model(batch["x"]))

        with pytest.raises(UsageError, match=fragment) as caught:
            make_trainer(Mistaken(), train_steps=1).train()
        assert str(caught.value).startswith(f"{line_of(Mistaken.loss, 'def loss')}, in loss: returned")


class TestPlace:
    def test_of_a_step_of_the_users_own(self, regression_task):
        class Own(regression_task):
            def train_step(self, model, batch):
                return self.loss(model, batch, training=True)

        assert place_of(Own().train_step) == f"{line_of(Own.train_step, 'def train_step')}, in train_step"
        assert place_of(Own().eval_step).endswith(", in loss")

    def test_of_what_has_no_code(self):
        assert place_of(len) == repr(len)
