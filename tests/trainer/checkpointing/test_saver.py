"""Writing checkpoints in the background."""

import os
import sys
import threading

import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.checkpointing import retention, saver
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.errors import CheckpointError


def value_of(folder, step):
    return float(tf.train.load_checkpoint(str(folder.prefix(step))).get_tensor("v/.ATTRIBUTES/VARIABLE_VALUE"))


class Unable(tf.train.experimental.PythonState):
    def serialize(self):
        raise ValueError("not this one")

    def deserialize(self, string_value):
        pass


class TestUnable:
    @pytest.fixture
    def task(self, regression_task):
        """A task whose model has a layer with state that no checkpoint can hold."""

        class Holding(regression_task):
            def build_model(self):
                model = super().build_model()
                model.get_layer("dense").unable = Unable()
                return model

        return Holding()

    def test_is_an_error_before_the_first_step(self, make_trainer, task, tmp_path):
        trainer = make_trainer(task, model_dir=tmp_path)
        with pytest.raises(UsageError, match=r"that no checkpoint can hold: .* got not this one"):
            trainer.train()
        assert trainer.step == 0
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]

    def test_is_an_error_of_a_dry_run(self, make_trainer, task):
        with pytest.raises(UsageError, match=r"that no checkpoint can hold: .* got not this one"):
            make_trainer(task).dry_run()


class TestBackground:
    def test_first_save_does_not_block(self, tmp_path, monkeypatch):
        go, add = threading.Event(), CheckpointFolder.add

        def wait(*arguments):
            assert go.wait(60)
            add(*arguments)

        monkeypatch.setattr(CheckpointFolder, "add", wait)
        keeping = retention.Retention(1, None, retention.Best(None, None))
        saving = saver.Saver(tf.train.Checkpoint(v=tf.Variable(1.0)), CheckpointFolder(tmp_path), keeping)
        saving.save(5)
        assert list(tmp_path.iterdir()) == []
        go.set()
        saving.close()
        assert value_of(CheckpointFolder(tmp_path), 5) == 1.0

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
    def test_lower_priority(self, make_trainer, monkeypatch, tmp_path):
        seen = []

        def write(snapshot, prefix):
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            original(snapshot, prefix)

        original = saver.write
        monkeypatch.setattr(saver, "write", write)
        before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        make_trainer(train_steps=2, model_dir=tmp_path).train()
        assert seen == [min(before + 10, 19)]
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
    def test_priority_forbidden(self, make_trainer, monkeypatch, tmp_path, caplog):
        def forbidden(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setpriority", forbidden)
        make_trainer(train_steps=2, model_dir=tmp_path).train()
        assert (tmp_path / "checkpoints" / "ckpt-2.index").exists()
        assert "no lower priority ([Errno 1] Operation not permitted)" in caplog.text


class TestFailingDisk:
    @pytest.fixture
    def quick(self, monkeypatch):
        monkeypatch.setattr(saver, "_RETRY_AFTER", (0.01, 0.01))

    def failing(self, monkeypatch, times, step=8):
        """The checkpoint of `step` fails so many times."""
        left, add = [times], CheckpointFolder.add

        def refuse(self, at, write):
            if at == step and left[0]:
                left[0] -= 1
                raise OSError(28, "No space left on device")
            add(self, at, write)

        monkeypatch.setattr(CheckpointFolder, "add", refuse)

    def test_tries_again(self, run, whole, tmp_path, monkeypatch, quick, caplog, assert_same_weights):
        self.failing(monkeypatch, 2)
        assert_same_weights(run(tmp_path), whole[0])
        assert caplog.text.count("The checkpoint of step 8 cannot be written") == 2
        assert (
            "No space left on device. The newest checkpoint is still that of step 4. Retrying in 0.01 s" in caplog.text
        )

    def test_gives_up_and_can_be_rerun(self, run, whole, tmp_path, monkeypatch, quick, assert_same_weights):
        with monkeypatch.context() as patch:
            self.failing(patch, 99)
            with pytest.raises(CheckpointError, match=r"step 8 cannot be written.*No space left.*step 4"):
                run(tmp_path)
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4]
        assert_same_weights(run(tmp_path), whole[0])
