"""A step once more: from a checkpoint or from the start, equal to the last digit to what the run wrote."""

import functools
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import NonFiniteError, Task


class Noisy(Task):
    """Least squares behind dropout and BatchNormalization, with a metric; a task that hands out one model only."""

    def build_model(self):
        layers = keras.layers
        hidden = [layers.Dense(4, "tanh", name="hidden"), layers.BatchNormalization(), layers.Dropout(0.3, seed=1)]
        return keras.Sequential([keras.Input((3,)), *hidden, layers.Dense(1, name="last")])

    def loss(self, model, batch, training):
        outputs = model(batch["x"], training=training)[:, 0]
        metrics.add("outputs", outputs)
        return (outputs - batch["y"]) ** 2


def written(folder, path="loss"):
    """Step -> the value in the train lines of metrics.jsonl."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["metrics"][path] for line in lines if line["split"] == "train"}


def files(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SETTINGS = {"train_steps": 9, "summary_interval": 1, "checkpoint_interval": 4, "keep_checkpoints": 9}


@pytest.fixture(scope="module", params=[1, 2])
def run(request, make_trainer, tmp_path_factory):
    """(folder, its Trainer): 9 steps of 3 a pass, the last one of 8 examples; Adam, dropout, moving statistics."""
    folder = tmp_path_factory.mktemp("run")
    arguments = {**SETTINGS, "optimizer": lambda: keras.optimizers.Adam(0.02), "model_dir": folder}
    make_trainer(Noisy(), replicas=request.param, **arguments).train()
    return folder, make_trainer(Noisy(), replicas=request.param, **arguments)


@pytest.fixture(scope="module")
def replayed(run):
    """replayed(step) -> what a replay of the run gives; each step once."""
    return functools.cache(run[1].replay)


class TestEqualsTheRun:
    @pytest.mark.parametrize(("step", "checkpoint"), [(3, None), (8, 4)])
    def test_to_the_last_digit(self, run, replayed, step, checkpoint):
        folder = run[0]
        before = files(folder)
        found = replayed(step)
        assert found.metrics["loss"] == written(folder)[step]
        assert found.metrics["outputs"] == written(folder, "outputs")[step]
        assert found.checkpoint == checkpoint
        assert found.agreement.same == list(range((checkpoint or 0) + 1, step + 1))
        assert found.agreement.different == []
        assert found.finite
        assert found.first_non_finite is None
        assert files(folder) == before

    def test_batch_rows_and_losses(self, replayed, rows):
        """The third batch of a pass has 8 rows, in order; the loss is the mean of theirs."""
        found = replayed(3)
        assert found.rows.tolist() == list(range(32, 40))
        np.testing.assert_array_equal(found.batch["x"], rows(40)["x"][32:])
        assert found.losses.shape == (8,)
        np.testing.assert_allclose(found.losses.mean(), found.metrics["loss"], rtol=1e-6)
        assert found.losses[found.worst].tolist() == sorted(found.losses, reverse=True)

    def test_by_replica(self, replayed):
        found = replayed(3)
        parts = np.split(found.losses, found.replicas)
        given = [each["loss"] for each in found.by_replica]
        np.testing.assert_allclose(given, [part.mean() for part in parts], rtol=1e-6)
        assert [each.replica for each in found.layers if each.layer.endswith("last")] == list(range(found.replicas))

    def test_model_before_the_step(self, run, replayed):
        """A model of its own; with the update, it is the one after the step, of which there is a checkpoint."""
        found = replayed(8)
        assert found.model is not run[1].model
        after = tf.train.load_checkpoint(str(run[0] / "checkpoints" / "ckpt-8"))
        last = found.model.get_layer("last").kernel.numpy()
        update = next(value for path, value in found.updates.items() if path.endswith("last/kernel"))
        keys = [key for key in after.get_variable_to_shape_map() if key.startswith("model/") and key.endswith("VALUE")]
        assert any(
            np.allclose(last + update, after.get_tensor(key), atol=1e-7)
            for key in keys
            if after.get_tensor(key).shape == (4, 1)
        )


class TestTheTrainer:
    def test_stays_as_it_was(self, make_trainer, tmp_path):
        trainer = make_trainer(model_dir=tmp_path, train_steps=4, checkpoint_interval=2)
        trainer.train()
        before = [variable.numpy() for variable in [*trainer.model.variables, *trainer.optimizer.variables]]
        found = trainer.replay(4)
        after = [variable.numpy() for variable in [*trainer.model.variables, *trainer.optimizer.variables]]
        assert all(map(np.array_equal, before, after))
        assert trainer.step == 4
        np.testing.assert_allclose(
            found.model.trainable_variables[0].numpy() + found.updates[trainer.model.trainable_variables[0].path],
            before[0],
            rtol=1e-6,
        )

    def test_trains_after_a_replay(self, make_trainer, tmp_path, assert_same_weights):
        """As one that has not replayed."""
        make_trainer(model_dir=tmp_path, train_steps=4).train()
        trainer = make_trainer(model_dir=tmp_path, train_steps=6)
        trainer.replay(2)
        trainer.train()
        other = make_trainer(train_steps=6)
        other.train()
        assert_same_weights(trainer, other)

    def test_without_a_folder(self, make_trainer):
        trainer = make_trainer(train_steps=4)
        found = trainer.replay(3)
        assert (found.checkpoint, found.agreement.same) == (None, [])
        trainer.train()
        assert trainer.traces == {"train": 1}


class TestNonFinite:
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_a_planted_nan_in_layer_3_is_named(self, make_trainer, tmp_path, replicas):
        """log of a negative number in the third layer, of row 20, the fourth of the second batch."""

        class Deep(Task):
            def build_model(self):
                dense = keras.layers.Dense
                ones = {"kernel_initializer": "ones"}
                layers = [dense(4, None, name="one", **ones), dense(4, "relu6", name="two", **ones)]
                third = keras.layers.Dense(
                    2, tf.math.log, bias_initializer=keras.initializers.Constant(-3.0), name="three", **ones
                )
                return keras.Sequential([keras.Input((3,)), *layers, third, dense(1, name="four")])

            def loss(self, model, batch, training):
                return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2 * 1e-3

        data = {"x": np.full((32, 3), 2, np.float32), "y": np.zeros(32, np.float32)}
        data["x"][20] = -1
        make = lambda: make_trainer(  # noqa: E731
            Deep(), data, replicas=replicas, model_dir=tmp_path, checkpoint_interval=1, train_steps=4
        )
        with pytest.raises(
            NonFiniteError, match=r"To look at the step: trainer\.replay\(2\), trainer being a new Trainer$"
        ):
            make().train()
        found = make().replay(2)
        assert not found.finite
        assert found.checkpoint == 1
        assert re.match(
            r"(replica 0, in )?the output of layer '\S*three' \(2 NaN of \d+ numbers in rows \[4\]",
            found.first_non_finite,
        )
        assert found.worst[0] == 4
        assert found.rows[found.worst[0]] == 20
        assert all(not update.any() for update in found.updates.values())
        assert [each.non_finite for each in found.layers[:4]] == [0, 0, 2, 1]

    def test_of_an_accumulated_update_may_be_in_an_earlier_step(self, make_trainer, rows, tmp_path):
        data = {key: array.copy() for key, array in rows(48).items()}
        data["y"][3] = np.nan
        make = lambda: make_trainer(data=data, model_dir=tmp_path, gradient_accumulation=2)  # noqa: E731
        with pytest.raises(NonFiniteError, match=r"trainer\.replay\(2\)"):
            make().train()
        trainer = make()
        assert trainer.replay(2).first_non_finite == "an earlier step of this update: replay step 1"
        assert trainer.replay(1).first_non_finite.startswith("the task's losses (1 NaN of 16 numbers in rows [3]")


class TestWhatElseWorks:
    def replayed(self, make_trainer, folder, step=5, **arguments):
        settings = {**SETTINGS, "train_steps": 6, "model_dir": folder, **arguments}
        make_trainer(**settings).train()
        found = make_trainer(**settings).replay(step)
        assert found.agreement.different == []
        assert found.metrics.get("loss", 0) == written(folder).get(step, 0)
        return found

    def test_a_stream(self, make_trainer, rows, tmp_path):
        """Its place is in the checkpoint: rows 24 to 35, in the order of the stream."""
        source = Input(lambda: tf.data.Dataset.from_tensor_slices(rows(60)), 12, shuffle=False)
        found = self.replayed(make_trainer, tmp_path, step=3, train_dataset=source, checkpoint_interval=2)
        assert found.checkpoint == 2
        assert found.rows is None
        np.testing.assert_array_equal(found.batch["x"], rows(60)["x"][24:36])

    def test_rows_by_number(self, make_trainer, rows, tmp_path):
        class Rows:
            def __len__(self):
                return 40

            def __getitem__(self, i):
                return {key: array[i] for key, array in rows(40).items()}

        found = self.replayed(make_trainer, tmp_path, replicas=2, train_dataset=Input(Rows(), 16))
        np.testing.assert_array_equal(found.batch["x"], rows(40)["x"][found.rows])

    def test_accumulation(self, make_trainer, rows, tmp_path, gradient_of):
        """Step 5 only adds its gradient to the sums: an update ends at 4 and at 6."""
        found = self.replayed(make_trainer, tmp_path, gradient_accumulation=2)
        kernel, bias = found.weights.values()
        expected = gradient_of(np.append(kernel, bias), {key: array[16:32] for key, array in rows(40).items()})
        np.testing.assert_allclose(np.concatenate([g.ravel() for g in found.gradients.values()]), expected, rtol=1e-4)
        assert all(not update.any() for update in found.updates.values())

    def test_a_loop_that_xla_compiles(self, make_trainer, tmp_path):
        found = self.replayed(make_trainer, tmp_path, step=6, jit_compile=True)
        assert len(found.losses) == 8

    def test_several_losses(self, make_trainer, tmp_path):
        class Two(Task):
            def build_model(self):
                inputs = keras.Input((3,))
                outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
                return keras.Model(inputs, outputs)

            def losses(self, model, batch, training):
                found = model(batch["x"], training=training)
                return {name: (found[name][:, 0] - batch["y"]) ** 2 for name in ("a", "b")}

            def variables(self, model, name):
                return model.get_layer(name).trainable_variables

        settings = {**SETTINGS, "optimizer": {"a": keras.optimizers.SGD(0.01), "b": keras.optimizers.SGD(0.02)}}
        make_trainer(Two(), model_dir=tmp_path, **settings).train()
        settings["optimizer"] = {"a": keras.optimizers.SGD(0.01), "b": keras.optimizers.SGD(0.02)}
        found = make_trainer(Two(), model_dir=tmp_path, **settings).replay(6)
        assert found.agreement.same == [5, 6]
        assert found.losses.keys() == {"a", "b"}
        np.testing.assert_allclose(found.losses["b"].mean(), found.metrics["loss/b"], rtol=1e-6)
        assert len(found.gradients) == 4


@pytest.fixture(scope="module")
def folder(make_trainer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    make_trainer(model_dir=folder, train_steps=6, checkpoint_interval=4).train()
    return folder


class TestMistakes:
    @pytest.mark.parametrize("step", [0, -1, True, 2.0, "3", None])
    def test_a_step_that_is_none(self, make_trainer, step):
        with pytest.raises(UsageError, match=r"Trainer\.replay: step = .*: expected a whole number of at least 1"):
            make_trainer().replay(step)

    def test_a_trainer_that_cannot_go_back(self, make_trainer, folder):
        trainer = make_trainer(model_dir=folder)
        trainer.prepare(evaluate=False)
        with pytest.raises(
            UsageError, match=r"has the weights of step 6, and there is no earlier checkpoint: expected"
        ):
            trainer.replay(2)

    def test_no_seed(self, make_trainer, folder):
        trainer = make_trainer(model_dir=folder, seed=None)
        with pytest.raises(UsageError, match=r"Trainer\.seed = None the run cannot be repeated"):
            trainer.replay(2)
        assert trainer.replay(5).checkpoint == 4

    def test_a_step_that_the_run_has_not_made(self, make_trainer, folder):
        with pytest.raises(
            UsageError, match=r"from 1 to 6: its newest checkpoint is of step 6, and it ended with 'done'"
        ):
            make_trainer(model_dir=folder).replay(7)

    def test_a_folder_without_a_run(self, make_trainer, tmp_path):
        with pytest.raises(UsageError, match="has no run: expected the model_dir of a run that has trained"):
            make_trainer(model_dir=tmp_path / "none").replay(1)

    def test_another_rate_differs_and_says_so(self, make_trainer, rows, tmp_path):
        settings = {"model_dir": tmp_path, "train_steps": 3, "summary_interval": 1}
        make_trainer(**settings).train()
        found = make_trainer(**settings, optimizer=lambda: keras.optimizers.SGD(0.01)).replay(3)
        assert found.agreement.same == [1]
        assert [each[:2] for each in found.agreement.different] == [(2, "loss"), (3, "loss")]

    def test_a_step_behind_one_that_stopped_the_run(self, make_trainer, rows, tmp_path):
        data = {key: array.copy() for key, array in rows(48).items()}
        data["y"][20] = np.nan
        make = lambda: make_trainer(data=data, model_dir=tmp_path, checkpoint_interval=1)  # noqa: E731
        with pytest.raises(NonFiniteError):
            make().train()
        with pytest.raises(
            UsageError, match=r"from 1 to 2: its newest checkpoint is of step 1, and it ended with .NonFin"
        ):
            make().replay(3)
