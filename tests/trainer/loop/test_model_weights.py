"""Whose weights the model has: initial ones, a checkpoint's, or those of the run."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task
from tallyloop.trainer.checkpointing import restore
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.checkpointing.retention import Best
from tallyloop.trainer.checkpointing.state import ModelState
from tallyloop.trainer.distribution import workers
from tallyloop.trainer.loop.model_weights import InitialWeights, ModelWeights
from tallyloop.trainer.loop.progress import Progress
from tallyloop.trainer.model.averaged_weights import AveragedWeights


class Run:
    """A model of one weight and a task with a variable of its own; `fill` sets both, and the step."""

    def __init__(self, folder=None, optimizer=None, **initial):
        self.task, self.progress = Task(), Progress(Best(None, None))
        self.task.own = tf.Variable(0.0)
        self.model = keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="dense")], name="net"
        )
        if optimizer is not None:
            optimizer.build(self.model.trainable_variables)
        self.optimizer = optimizer
        self.weights = ModelWeights(
            task=self.task,
            model=self.model,
            progress=self.progress,
            averaged=AveragedWeights(optimizer),
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            model_dir=folder,
            initial=InitialWeights(**initial),
        )

    def fill(self, value, step):
        self.model.set_weights([np.full((1, 1), value)])
        self.task.own.assign(value)
        self.progress.step_variable.assign(step)

    @property
    def values(self):
        return float(self.model.get_weights()[0][0, 0]), float(self.task.own.numpy()), self.progress.step

    def save(self, folder):
        """Write the checkpoint of this step; returns its path."""
        state = ModelState(self.task, self.model, self.optimizer).state()
        checkpoint = tf.train.Checkpoint(step=self.progress.step_variable, **state)
        CheckpointFolder(folder / "checkpoints").add(self.progress.step, lambda prefix: checkpoint.write(str(prefix)))
        return str(folder / "checkpoints" / f"ckpt-{self.progress.step}")

    # What continue_run needs of a TrainSession.
    restores = 0

    def restore_newest(self, folder):
        self.restores += 1
        if steps := folder.steps():
            self.fill(-1.0 * steps[-1], steps[-1])
        return bool(steps)


@pytest.fixture
def folder(tmp_path):
    """A run folder with the checkpoints of steps 4 and 8, whose weights are 4 and 8."""
    run = Run()
    for step in (4, 8):
        run.fill(float(step), step)
        run.save(tmp_path)
    return tmp_path


class TestWeightsOfACheckpoint:
    def test_newest_checkpoint(self, folder):
        run = Run(folder)
        with run.weights.of(None):
            assert run.values == (8, 8, 8)
        assert run.values == (8, 8, 8)

    def test_named_checkpoint_stays(self, folder):
        run = Run(folder)
        with run.weights.of(f"{folder}/checkpoints/ckpt-4"):
            assert run.values == (4, 4, 4)
        with run.weights.of(None):
            assert run.values == (4, 4, 4)

    def test_without_checkpoints(self, tmp_path):
        for model_dir in (None, tmp_path):
            run = Run(model_dir)
            run.fill(1.5, 0)
            with run.weights.of(None):
                assert run.values == (1.5, 1.5, 0)

    def test_of_a_checkpoint_that_is_not_there(self, tmp_path):
        with pytest.raises(UsageError, match=r"^checkpoint = 'no/ckpt-5': expected .* there is no no/ckpt-5.index\.$"):
            Run(tmp_path).weights.of("no/ckpt-5").__enter__()

    def test_of_what_is_no_checkpoint(self):
        with pytest.raises(
            UsageError, match=r"^checkpoint = ndarray: expected the path .* is Trainer.eval_datasets\.$"
        ):
            Run().weights.of(np.zeros(3)).__enter__()

    @pytest.mark.parametrize("has_folder", [True, False])
    def test_untrained_warns_once(self, tmp_path, caplog, has_folder):
        run = Run(tmp_path if has_folder else None)
        for purpose in ("", "predict", "predict"):
            with run.weights.of(None, purpose=purpose):
                pass
        why = f"{tmp_path}/checkpoints has no checkpoint" if has_folder else "there is no model_dir"
        told = f"Trainer.predict: {why}, and nothing was trained: the model has its initial weights."
        assert [record.getMessage() for record in caplog.records] == [told]

    def test_no_warning_of_weights_that_were_meant(self, folder, tmp_path, caplog):
        path = Run().save(tmp_path)
        for run in (Run(folder), Run(initial_weights=path)):
            with run.weights.of(None, purpose="predict"):
                pass
        trained = Run()
        trained.fill(1.0, 3)
        with trained.weights.of(None, purpose="predict"):
            pass
        assert "initial weights." not in caplog.text

    def test_trained_weights_come_back(self, folder):
        run = Run(folder)
        run.weights.continue_run(run)
        run.fill(3.0, 11)
        with run.weights.of(None):
            assert run.values == (3, 3, 11)
        with run.weights.of(f"{folder}/checkpoints/ckpt-4"):
            assert run.values == (4, 4, 4)
        assert run.values == (3, 3, 11)

    def test_trained_weights_come_back_after_an_error(self, folder):
        run = Run(folder)
        run.weights.continue_run(run)
        run.fill(3.0, 11)

        def fail():
            with run.weights.of(f"{folder}/checkpoints/ckpt-4"):
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert run.values == (3, 3, 11)

    def test_trained_weights_come_back_after_a_restore_that_fails(self, folder, monkeypatch):
        run = Run(folder)
        run.weights.continue_run(run)
        run.fill(3.0, 11)

        def fail(state, path):
            run.fill(5.0, 12)
            raise UsageError("half of it")

        monkeypatch.setattr(restore, "restore", fail)
        with pytest.raises(UsageError, match="half of it"):
            run.weights.of(f"{folder}/checkpoints/ckpt-4").__enter__()
        assert run.values == (3, 3, 11)

    def test_all_workers_or_none(self, folder, monkeypatch):
        """One that could read it says which one could not, and one that could not says why."""
        asked = []
        monkeypatch.setattr(workers, "any_of", lambda strategy, *mine: asked.append(mine) or [True])
        with pytest.raises(restore.UnreadableCheckpointError, match=r"Another worker cannot read .*ckpt-4"):
            Run(folder).weights.of(f"{folder}/checkpoints/ckpt-4", on_all_workers=True).__enter__()
        with pytest.raises(restore.UnreadableCheckpointError, match=r"checkpoint = '.*ckpt-5': expected the path"):
            Run(folder).weights.of(f"{folder}/checkpoints/ckpt-5", on_all_workers=True).__enter__()
        assert asked == [(False,), (True,)]

    def test_averages_come_back(self, tmp_path):
        optimizer = keras.optimizers.SGD(use_ema=True)
        run = Run(tmp_path, optimizer)
        run.fill(4.0, 4)
        averages = [variable for variable in optimizer.variables if tuple(variable.shape) == (1, 1)]
        assert len(averages) == 1
        averages[0].assign([[40.0]])
        path = run.save(tmp_path)
        run.weights.continue_run(run)
        averages[0].assign([[30.0]])
        with run.weights.of(path):
            assert averages[0].numpy() == 40
        assert averages[0].numpy() == 30

    def test_warns_of_unused_averages(self, tmp_path, caplog):
        averaging = Run(optimizer=keras.optimizers.SGD(use_ema=True))
        averaging.fill(4.0, 4)
        averaging.save(tmp_path)
        run = Run(tmp_path, keras.optimizers.SGD())
        with run.weights.of(None):
            assert run.values == (4, 4, 4)
        assert "has averages of the weights, which are not used" in caplog.text

    def test_after_training(self, make_trainer, weights_of, tmp_path):
        """As a notebook does: evaluate an older checkpoint, then look at the trained model again."""
        trainer = make_trainer(train_steps=4, checkpoint_interval=2, evaluate=True, model_dir=tmp_path)
        found, own = trainer.train_and_eval(), weights_of(trainer)
        assert trainer.evaluate(str(tmp_path / "checkpoints" / "ckpt-2")) != found
        np.testing.assert_array_equal(weights_of(trainer), own)
        assert trainer.step == 4
        assert trainer.evaluate() == found


class TestInitialWeights:
    @pytest.fixture
    def source(self, tmp_path):
        run = Run()
        run.fill(5.0, 100)
        return run.save(tmp_path / "source")

    def test_of_a_new_run(self, source):
        """The weights of the model alone: neither the step nor the task's own variables."""
        run = Run(initial_weights=source)
        with run.weights.of(None):
            assert run.values == (5, 0, 0)

    def test_are_loaded_once(self, source):
        run = Run(initial_weights=source)
        run.weights.continue_run(run)
        assert run.values == (5, 0, 0)
        run.fill(6.0, 0)
        run.weights.continue_run(run)
        with run.weights.of(None):
            assert run.values == (6, 6, 0)

    def test_not_of_a_run_that_continues(self, folder, source):
        run = Run(folder, initial_weights=source)
        run.weights.continue_run(run)
        assert run.values == (-8, -8, 8)

    def test_names_are_replaced(self, source):
        run = Run(initial_weights=source, initial_weights_map={"^net/dense/": "elsewhere/"})
        with pytest.raises(UsageError, match="nothing in it fits the model"):
            run.weights.continue_run(run)

    def test_are_evaluated_before_training(self, regression_task, make_trainer, rows, tmp_path):
        trained = make_trainer(regression_task(), evaluate=True, model_dir=tmp_path)
        found = trained.train_and_eval()
        checkpoint = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
        assert make_trainer(regression_task(), evaluate=True, initial_weights=checkpoint).evaluate() == found


class TestContinueRun:
    def test_restores_once(self, folder):
        """Training goes on from the weights that the first call left."""
        run = Run(folder)
        run.weights.continue_run(run)
        run.fill(9.0, 9)
        run.weights.continue_run(run)
        assert (run.restores, run.values) == (1, (9, 9, 9))

    def test_restores_after_an_evaluation(self, folder):
        run = Run(folder)
        with run.weights.of(f"{folder}/checkpoints/ckpt-4"):
            pass
        run.weights.continue_run(run)
        assert run.values == (-8, -8, 8)

    def test_refuses_what_was_loaded_to_evaluate(self, folder, tmp_path):
        """The step and the weights of another run, with a new optimizer."""
        for run in (Run(), Run(tmp_path / "new")):
            with run.weights.of(f"{folder}/checkpoints/ckpt-4"):
                pass
            with pytest.raises(UsageError, match=r"weights and the step of .*ckpt-4, which it was given to evaluate"):
                run.weights.continue_run(run)

    def test_workers_without_shared_storage(self, folder, monkeypatch):
        monkeypatch.setattr(workers, "exchange", lambda strategy, text: [text, "4", "8", "0"])
        run = Run(folder)
        with pytest.raises(
            UsageError, match=r"chief at step 8, worker 1 at step 4, worker 3 at step 0\. .*all workers share"
        ):
            run.weights.continue_run(run)

    def test_rerun_ignores_the_initial_weights(self, encoder, make_trainer, tmp_path, weights_of):
        source = tf.train.Checkpoint(model=encoder.build_model()).write(str(tmp_path / "ckpt"))
        make_trainer(encoder, train_steps=2, model_dir=tmp_path / "b", seed=1).train()
        whole = make_trainer(encoder, train_steps=4, seed=1)
        whole.train()
        resumed = make_trainer(encoder, train_steps=4, model_dir=tmp_path / "b", initial_weights=source, seed=1)
        resumed.train()
        np.testing.assert_array_equal(weights_of(resumed), weights_of(whole))
