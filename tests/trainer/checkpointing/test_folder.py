"""The folder of checkpoints: atomic, verified, repaired after a kill."""

import os
from pathlib import Path

import pytest
import tensorflow as tf
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.checkpointing.integrity import damage


def save_value(folder, step, value):
    folder.add(step, lambda prefix: tf.train.Checkpoint(v=tf.Variable(value)).write(str(prefix)))


def value_of(folder, step):
    return float(tf.train.load_checkpoint(str(folder.prefix(step))).get_tensor("v/.ATTRIBUTES/VARIABLE_VALUE"))


def killed_at(monkeypatch, call, count):
    """Within it, the call of that number of os.replace, or Path.unlink, or Path.touch, is the last thing that happens."""
    left = [count]

    def wrapped(function):
        def act(*args, **kwargs):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return function(*args, **kwargs)

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", wrapped(os.replace))
        for name in ("unlink", "touch"):
            patch.setattr(Path, name, wrapped(getattr(Path, name)))
        try:
            call()
        except KeyboardInterrupt:
            return True
    return False


class TestCheckpointFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        return CheckpointFolder(tmp_path / "checkpoints")

    def test_hides_an_unfinished_one(self, folder):
        save_value(folder, 5, 1.0)

        def half(prefix):
            prefix.with_name("ckpt-6.data-00000-of-00001").write_bytes(b"half")
            raise OSError("no space")

        with pytest.raises(OSError, match="no space"):
            folder.add(6, half)
        assert folder.steps() == [5]
        assert tf.train.latest_checkpoint(str(folder.path)).endswith("ckpt-5")
        save_value(folder, 6, 2.0)
        assert folder.steps() == [5, 6]
        assert sorted(path.name for path in folder.path.iterdir()) == sorted(
            ["checkpoint"]
            + [f"ckpt-{n}.{end}" for n in (5, 6) for end in ("index", "data-00000-of-00001", "sha256.json")]
        )

    def test_replaces_an_older_one(self, folder):
        save_value(folder, 5, 1.0)
        save_value(folder, 5, 2.0)
        assert tf.train.load_variable(str(folder.prefix(5)), "v/.ATTRIBUTES/VARIABLE_VALUE") == 2.0
        assert damage(folder.prefix(5)) is None

    def test_relative_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save_value(CheckpointFolder(Path("run/checkpoints")), 5, 1.0)
        assert tf.train.latest_checkpoint("run/checkpoints") == "run/checkpoints/ckpt-5"
        assert tf.train.latest_checkpoint(str(tmp_path / "run/checkpoints")) == str(tmp_path / "run/checkpoints/ckpt-5")


class TestKilled:
    """Killed between any two operations on files."""

    def test_while_replacing(self, tmp_path, monkeypatch):
        """Wherever it comes: afterwards there is the old one or the new one, whole; and the only one is never lost."""
        for count in range(20):
            folder = CheckpointFolder(tmp_path / str(count))
            save_value(folder, 5, 1.0)
            killed = killed_at(monkeypatch, lambda folder=folder: save_value(folder, 5, 2.0), count)
            folder.recover()
            assert (folder.steps(), damage(folder.prefix(5))) == ([5], None)
            assert value_of(folder, 5) in ((1.0, 2.0) if killed else (2.0,))
            assert not folder.scratch().exists()
            if not killed:
                break
        assert 4 <= count < 19

    @pytest.mark.parametrize("after", ["index", "sha256.json"])
    def test_while_deleting(self, tmp_path, monkeypatch, after):
        """By the next checkpoint; what is damaged has no mark, and stays."""
        folder = CheckpointFolder(tmp_path)
        for step in (1, 2, 3):
            save_value(folder, step, float(step))
        unlink = Path.unlink

        def killed(path, missing_ok=False):
            unlink(path, missing_ok)
            if path.name == f"ckpt-2.{after}":
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                folder.keep_only([3], newest=3)
        (tmp_path / "ckpt-3.index").unlink()
        folder.recover()
        assert {path.name.partition(".")[0] for path in tmp_path.glob("ckpt-*")} == {"ckpt-3"}
        assert not list(tmp_path.glob("*.deleted"))

    def test_before_deleting(self, tmp_path, monkeypatch):
        """The mark was there, and nothing else done: a rerun may have gone on from that checkpoint."""
        folder = CheckpointFolder(tmp_path)
        save_value(folder, 1, 1.0)
        assert killed_at(monkeypatch, lambda: folder.keep_only([], newest=1), 1)
        assert list(tmp_path.glob("*.deleted"))
        folder.recover()
        assert folder.steps() == [1]
        assert not list(tmp_path.glob("*.deleted"))
