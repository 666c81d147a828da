"""A rerun goes on where the run stopped; what cannot be restored is refused."""

import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.checkpointing import state


@pytest.fixture(scope="module")
def dropped(regression_task):
    """A task whose weights depend on the state of a seed generator."""

    class Dropped(regression_task):
        def __init__(self, units=4, more=()):
            self.units = units
            self.more = more

        def build_model(self):
            return keras.Sequential(
                [
                    keras.Input((3,)),
                    keras.layers.Dense(self.units, name="first"),
                    keras.layers.Dropout(0.5),
                    keras.layers.Dense(1, name="last"),
                    *(keras.layers.Dense(1, name=name) for name in self.more),
                ],
                name="net",
            )

    return Dropped


@pytest.fixture(scope="module")
def momentum():
    return lambda: keras.optimizers.SGD(0.01, momentum=0.9)


@pytest.fixture(scope="module")
def prepared(dropped, make_trainer, rows, momentum):
    """prepared(folder, steps, ...) -> a Trainer that is to train up to `steps`."""

    def make(folder, steps, replicas=1, task=None, **arguments):
        arguments = {
            "train_dataset": Input(rows(40), 16, shuffle=True, seed=4),
            "optimizer": momentum,
            **arguments,
        }
        return make_trainer(task or dropped(), replicas=replicas, train_steps=steps, model_dir=folder, **arguments)

    return make


@pytest.fixture(scope="module")
def train(prepared):
    """run(folder, steps, ...) -> a Trainer that has trained up to `steps`, and not evaluated."""

    def make(folder, steps, replicas=1, task=None, before=lambda trainer: None, **arguments):
        trainer = prepared(folder, steps, replicas, task, **arguments)
        before(trainer)
        trainer.train()
        return trainer

    return make


class TestRerun:
    """After 4 steps of 9; an epoch has 3. Order of the data, momentum and dropout go on where they were."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, train):
        return train(None, 9)

    @pytest.fixture(scope="class")
    @classmethod
    def stopped(cls, train, tmp_path_factory):
        folder = tmp_path_factory.mktemp("stopped")
        train(folder, 4, checkpoint_interval=2)
        return folder

    @pytest.fixture
    def folder(self, stopped, tmp_path):
        return shutil.copytree(stopped, tmp_path / "run")

    def test_ends_with_the_same_weights(self, train, folder, whole, assert_same_weights):
        rerun = train(folder, 9)
        assert rerun.step == 9
        assert_same_weights(rerun, whole)

    def test_would_differ_without_the_seeds(self, train, folder, whole):
        """The control of the test above: it can fail."""

        def reseed(trainer):
            trainer.prepare(evaluate=False)  # which restores
            for variable in trainer.model.variables:
                if "seed" in variable.path:
                    variable.assign(tf.zeros_like(variable.value))

        rerun = train(folder, 9, before=reseed)
        assert (rerun.model.weights[0].numpy() != whole.model.weights[0].numpy()).any()

    def test_after_evaluating(self, train, rows, folder, whole, assert_same_weights):
        """A notebook looks at a run's numbers, then trains on."""
        datasets = {"test": Input(rows(20), 16)}
        rerun = train(folder, 9, eval_datasets=datasets, before=lambda trainer: trainer.evaluate())
        assert_same_weights(rerun, whole)

    def test_passes_over_a_torn_one(self, train, folder, whole, assert_same_weights):
        data = folder / "checkpoints" / "ckpt-4.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:100])
        assert_same_weights(train(folder, 9), whole)

    def test_refuses_another_optimizer(self, train, folder):
        """From SGD with momentum to Adam, whose averages are not in the checkpoint."""
        with pytest.raises(UsageError, match="ckpt-4"):
            train(folder, 9, optimizer=lambda: keras.optimizers.Adam(0.01))

    @pytest.mark.slow
    def test_keeps_accumulated_gradients(self, train, tmp_path, assert_same_weights):
        """Three steps make an update; the run stops after 4."""
        whole = train(None, 9, 2, gradient_accumulation=3)
        train(tmp_path, 4, 2, gradient_accumulation=3)
        assert_same_weights(train(tmp_path, 9, 2, gradient_accumulation=3), whole)

    def test_keeps_what_several_optimizers_have_gathered(self, train, tmp_path, assert_same_weights):
        """Momentum and updates, which TensorFlow does not find inside a MultiOptimizer."""

        def optimizers():
            momentum = keras.optimizers.SGD(0.01, momentum=0.9)
            return keras.optimizers.MultiOptimizer(
                keras.optimizers.OptimizerMap(keras.optimizers.Adam(0.05), {".*/bias": momentum})
            )

        whole = train(tmp_path / "whole", 6, optimizer=optimizers)
        train(tmp_path / "cut", 3, optimizer=optimizers)
        again = train(tmp_path / "cut", 6, optimizer=optimizers)
        assert_same_weights(again, whole)
        for a, b in zip(again.optimizer.variables, whole.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)

    def test_of_an_earlier_version_goes_on_without_that(self, train, tmp_path, monkeypatch, caplog):
        def optimizers():
            return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.Adam(0.05), {}))

        with monkeypatch.context() as patch:
            patch.setattr(state, "grouped", lambda optimizer: [])
            train(tmp_path, 3, optimizer=optimizers)
        assert train(tmp_path, 6, optimizer=optimizers).step == 6
        assert (
            "ckpt-3 is of an earlier version, and lacks what the optimizers of a MultiOptimizer have gath"
            in caplog.text
        )

    def test_shuffled_stream(self, train, rows, regression_task, tmp_path, assert_same_weights):
        def dataset():
            stream = tf.data.Dataset.from_tensor_slices(rows(40))
            return Input(stream, 16, shuffle=True, shuffle_buffer=20, seed=4)

        task = regression_task()
        whole = train(None, 9, task=task, train_dataset=dataset())
        train(tmp_path, 4, task=task, train_dataset=dataset())
        assert_same_weights(train(tmp_path, 9, task=task, train_dataset=dataset()), whole)

    def test_other_numbers_of_replicas(self, train, regression_task, weights_of, tmp_path):
        """From 2 to 4 to 1."""
        whole = train(None, 9, 1, regression_task())
        train(tmp_path, 4, 2, regression_task())
        train(tmp_path, 6, 4, regression_task())
        rerun = train(tmp_path, 9, 1, regression_task())
        np.testing.assert_allclose(weights_of(rerun), weights_of(whole), atol=1e-5, rtol=0)


class TestRestore:
    """A run of 7 steps with a checkpoint every 2; the two newest are kept."""

    @pytest.fixture(scope="class")
    @classmethod
    def exact(cls):
        """step -> the loss on the eval data, by NumPy, from the weights at that step."""
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, prepared, rows, exact, tmp_path_factory):
        def keep(trainer, summary):
            kernel, bias, last_kernel, last_bias = (weight.astype(np.float64) for weight in trainer.model.get_weights())
            errors = (rows(20)["x"] @ kernel + bias) @ last_kernel[:, 0] + last_bias - rows(20)["y"]
            if summary.split == "eval":
                exact[summary.step] = pytest.approx(np.mean(errors**2), rel=1e-5)

        folder, datasets = tmp_path_factory.mktemp("run"), {"test": Input(rows(20), 16)}
        for steps in (3, 7):
            intervals = {"checkpoint_interval": 2, "keep_checkpoints": 2, "eval_interval": 1}
            prepared(folder, steps, eval_datasets=datasets, actions=[keep], **intervals).train_and_eval()
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def evaluating(cls, folder, make_trainer, dropped, rows):
        return make_trainer(dropped(), model_dir=folder, eval_datasets={"test": Input(rows(20), 16)})

    def test_tensorflow_finds_the_latest(self, folder):
        names = sorted(name for name in os.listdir(folder / "checkpoints") if name.endswith(".index"))
        assert names == ["ckpt-6.index", "ckpt-7.index"]
        assert tf.train.latest_checkpoint(f"{folder}/checkpoints") == f"{folder}/checkpoints/ckpt-7"

    def test_newest_or_named(self, folder, evaluating, exact):
        assert evaluating.evaluate() == {"test": {"loss": exact[7]}}
        assert evaluating.step == 7
        assert evaluating.evaluate(f"{folder}/checkpoints/ckpt-6") == {"test": {"loss": exact[6]}}
        assert evaluating.step == 6
        assert exact[6].expected != exact[7].expected

    def test_nothing_to_do(self, folder, train, capsys):
        before = sorted((path, path.stat().st_mtime_ns) for path in (folder / "checkpoints").iterdir())
        trainer = train(folder, 7)
        assert "Nothing to do: 7 of 7 steps are done. Raise Trainer.train_steps" in capsys.readouterr().out
        assert trainer.step == 7
        assert sorted((path, path.stat().st_mtime_ns) for path in (folder / "checkpoints").iterdir()) == before

    def test_refuses_another_model(self, folder, train, dropped):
        with pytest.raises(UsageError) as caught:
            train(folder, 9, task=dropped(units=5))
        message = str(caught.value)
        assert "ckpt-7 belongs to another model" in message
        assert "net/first/kernel: (3, 4) in the checkpoint, (3, 5) in the model" in message
        assert "net/first/bias: (4,) in the checkpoint, (5,) in the model" in message
        assert "net/last/kernel: (4, 1) in the checkpoint, (5, 1) in the model" in message
        assert "net/last/bias" not in message

    def test_refuses_one_more_layer(self, folder, train, dropped):
        with pytest.raises(UsageError, match=r"net/added/kernel: absent in the checkpoint, \(1, 1\) in the model"):
            train(folder, 9, task=dropped(more=["added"]))

    def test_refuses_an_absent_one(self, evaluating, tmp_path):
        with pytest.raises(UsageError, match=r"there is no .*ckpt-99.index"):
            evaluating.evaluate(str(tmp_path / "ckpt-99"))

    def test_refuses_a_torn_one(self, folder, evaluating, tmp_path):
        for name in ("ckpt-7.index", "ckpt-7.data-00000-of-00001"):
            content = (folder / "checkpoints" / name).read_bytes()
            (tmp_path / name).write_bytes(content if name.endswith("index") else content[: len(content) // 2])
        with pytest.raises(UsageError, match="ckpt-7 cannot be read as a checkpoint"):
            evaluating.evaluate(str(tmp_path / "ckpt-7"))


FILES = ["ckpt-8.index", "ckpt-8.data-00000-of-00001", "ckpt-8.sha256.json", "checkpoint"]


class Blocks(keras.layers.Layer):
    """Layers in lists and dicts, of which TensorFlow's checkpoints know nothing; the first one is frozen."""

    def __init__(self):
        super().__init__(name="blocks")
        hidden = keras.layers.Dense(4, "tanh", trainable=False, name="hidden")
        self.blocks = [hidden, [keras.layers.BatchNormalization(name="norm")]]
        self.heads = {name: keras.layers.Dense(1, name=name) for name in ("one", "other")}

    def call(self, x, training=False):
        hidden = self.blocks[1][0](self.blocks[0](x), training=training)
        return self.heads["one"](hidden) + self.heads["other"](x)


class TestLayersInLists:
    @pytest.fixture(scope="class")
    @classmethod
    def listed(cls, regression_task):
        class Listed(regression_task):
            def build_model(self):
                keras.utils.set_random_seed(self.seed)
                return keras.Sequential([keras.Input((3,)), Blocks()])

        def make(seed=0):
            task = Listed()
            task.seed = seed
            return task

        return make

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, run, listed, tmp_path_factory):
        """(the Trainer, its folder) of 12 steps."""
        folder = tmp_path_factory.mktemp("listed")
        return run(folder, task=listed()), folder

    def test_are_evaluated_with_the_weights_of_the_checkpoint(self, trained, make_trainer, listed, rows):
        trainer, folder = trained
        other = make_trainer(listed(seed=1), evaluate=True)
        found = other.evaluate(str(folder / "checkpoints" / "ckpt-12"))
        assert found["test"]["loss"] == trainer.evaluate()["test"]["loss"]
        for before, after in zip(trainer.model.weights, other.model.weights, strict=True):
            np.testing.assert_array_equal(before.numpy(), after.numpy(), err_msg=before.path)

    def test_continue_as_if_never_stopped(self, trained, run, listed, tmp_path, assert_same_weights):
        run(tmp_path, steps=8, task=listed())
        assert_same_weights(run(tmp_path, task=listed(seed=1)), trained[0])

    def test_have_their_paths_in_the_files(self, trained):
        trainer, folder = trained
        reader = tf.train.load_checkpoint(str(folder / "checkpoints" / "ckpt-12"))
        for weight in trainer.model.weights:
            path = weight.path.removeprefix(f"{trainer.model.name}/")
            stored = reader.get_tensor(f"model/{path}/.ATTRIBUTES/VARIABLE_VALUE")
            np.testing.assert_array_equal(stored, weight.numpy(), err_msg=path)

    def test_are_initial_weights(self, trained, make_trainer, listed):
        trainer, folder = trained
        begun = make_trainer(listed(seed=1), evaluate=True, initial_weights=folder / "checkpoints" / "ckpt-12")
        assert begun.evaluate()["test"]["loss"] == trainer.evaluate()["test"]["loss"]

    def test_of_a_model_with_fewer_lists_are_refused(self, trained, make_trainer, regression_task):
        class Empty(Blocks):
            def __init__(self):
                keras.layers.Layer.__init__(self, name="blocks")

            def call(self, x, training=False):
                return x[:, :1]

        class WithoutLists(regression_task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), Empty()])

        with pytest.raises(
            UsageError, match=r"belongs to another model than the config builds:\n.*in the checkpoint, absent"
        ):
            make_trainer(WithoutLists(), evaluate=True).evaluate(str(trained[1] / "checkpoints" / "ckpt-12"))

    @pytest.mark.parametrize("use_ema", [False, True])
    def test_of_an_earlier_version(self, run, make_trainer, listed, tmp_path, monkeypatch, caplog, use_ema):
        """Then, they were only where the optimizer had them."""
        optimizer = {"optimizer": lambda: keras.optimizers.Adam(0.05, use_ema=use_ema)}
        with monkeypatch.context() as patch:
            patch.setattr(state, "model_state", lambda model: {"model": model})
            run(tmp_path, steps=4, task=listed(), **optimizer)
        with pytest.raises(UsageError, match="of an earlier version, and lacks the weights of layers in lists"):
            make_trainer(listed(), evaluate=True, **optimizer).evaluate(str(tmp_path / "checkpoints" / "ckpt-4"))
        run(tmp_path, steps=8, task=listed(), **optimizer)
        assert "moving statistics and frozen layers begin anew" in caplog.text
        make_trainer(listed(), evaluate=True, **optimizer).evaluate(str(tmp_path / "checkpoints" / "ckpt-8"))


class Named(keras.Model):
    """A subclassed model without a `build`: the names of its variables lack those of the layers."""

    def __init__(self, name):
        super().__init__(name=name)
        self.norm = keras.layers.BatchNormalization(name="norm")
        self.first = keras.layers.Dense(2, name="hidden")
        self.last = [keras.layers.Dense(1, name="last")]

    def call(self, x, training=False):
        return self.last[0](self.first(self.norm(x, training=training)))


def test_initial_weights_of_a_subclassed_model(run, make_trainer, regression_task, tmp_path):
    class Subclassed(regression_task):
        def __init__(self, name):
            self.name = name

        def build_model(self):
            return Named(self.name)

    trainer = run(tmp_path, steps=4, task=Subclassed("one"))
    path = tmp_path / "checkpoints" / "ckpt-4"
    begun = make_trainer(Subclassed("other"), evaluate=True, initial_weights=path)
    assert begun.evaluate() == trainer.evaluate()


class TestDamage:
    @pytest.fixture(scope="class")
    @classmethod
    def stopped(cls, run, tmp_path_factory):
        folder = tmp_path_factory.mktemp("stopped")
        run(folder, 8)
        return folder

    @pytest.mark.parametrize("file", FILES)
    @pytest.mark.parametrize(
        "how", ["flipped", *[pytest.param(how, marks=pytest.mark.slow) for how in ("emptied", "deleted")]]
    )
    def test_reported_and_passed_over(self, run, stopped, whole, tmp_path, caplog, file, how, assert_same_weights):
        shutil.copytree(stopped, tmp_path / "run")
        path = tmp_path / "run" / "checkpoints" / file
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"" if how == "emptied" else bytes(content))
        assert_same_weights(run(tmp_path / "run"), whole[0])
        harmless = file == "checkpoint" or (file.endswith("json") and how == "deleted")
        if not harmless:
            assert file in caplog.text or "ckpt-8" in caplog.text
            assert "nothing is deleted" in caplog.text

    def test_is_not_evaluated(self, run, make_trainer, rows, tmp_path, caplog):
        run(tmp_path, 8)
        data = tmp_path / "checkpoints" / "ckpt-8.data-00000-of-00001"
        content = bytearray(data.read_bytes())
        content[-1] ^= 1  # of the optimizer, perhaps; the whole is not what was written
        data.write_bytes(content)
        trainer = make_trainer(evaluate=True, model_dir=tmp_path)
        with pytest.raises(UsageError, match=r"ckpt-8 is damaged: the checksum of .* in .*data-00000-of-00001 differs"):
            trainer.evaluate(str(tmp_path / "checkpoints" / "ckpt-8"))
        trainer.evaluate()
        assert trainer.step == 4
        assert "ckpt-8 is damaged" in caplog.text
