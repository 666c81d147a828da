"""Checkpoints: in the background, atomic, verified, kept by rule; and being asked to stop."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.checkpointing import retention, saver
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.checkpointing.snapshot import Snapshots, write
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import CheckpointError, OutputError, PreemptedError
from tallyloop.trainer.loop import folder_lock as lock
from tallyloop.trainer.loop.timing import TIMES


def same_weights(one, other):
    for a, b in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


class TestSnapshots:
    @pytest.fixture
    def state(self, mirrored_on):
        with mirrored_on(2).scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
            optimizer = keras.optimizers.Adam()
            optimizer.build(model.trainable_variables)
        iterator = iter(tf.data.Dataset.range(100).batch(3))
        next(iterator)
        return tf.train.Checkpoint(model=model, optimizer=optimizer, data=iterator, step=tf.Variable(7, dtype=tf.int64))

    def test_what_is_written_later_is_what_was_taken(self, state, tmp_path):
        snapshots = Snapshots(state)
        snapshots.take()
        taken = snapshots.take()
        before = state.model.get_weights()
        for variable in state.model.variables:
            variable.assign_add(tf.ones_like(variable.value))
        state.step.assign(8)
        next(state.data)
        thread = threading.Thread(target=write, args=(taken, tmp_path / "ckpt"))
        thread.start()
        thread.join()
        state.read(str(tmp_path / "ckpt")).assert_consumed()
        for weights, wanted in zip(state.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weights, wanted)
        assert state.step.numpy() == 7
        assert next(state.data).numpy().tolist() == [3, 4, 5]

    def test_it_says_nothing(self, state, recwarn):
        Snapshots(state).take()
        assert not recwarn

    def test_it_is_what_tensorflow_would_have_written(self, state, tmp_path):
        write(Snapshots(state).take(), tmp_path / "mine")
        state.write(str(tmp_path / "its"))
        mine, its = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("mine", "its"))
        shapes = its.get_variable_to_shape_map()
        assert mine.get_variable_to_shape_map() == shapes
        for key in shapes:
            if "ITERATOR" not in key:
                np.testing.assert_array_equal(mine.get_tensor(key), its.get_tensor(key))


def test_all_files_are_written_beside_training_from_the_first_checkpoint_on(tmp_path, monkeypatch):
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


def save_value(folder, step, value):
    folder.add(step, lambda prefix: tf.train.Checkpoint(v=tf.Variable(value)).write(str(prefix)))


class TestCheckpointFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        return CheckpointFolder(tmp_path / "checkpoints")

    def test_a_reader_never_sees_an_unfinished_one(self, folder):
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

    def test_an_older_one_is_replaced(self, folder):
        save_value(folder, 5, 1.0)
        save_value(folder, 5, 2.0)
        assert tf.train.load_variable(str(folder.prefix(5)), "v/.ATTRIBUTES/VARIABLE_VALUE") == 2.0
        assert folder.damage(5) is None

    @pytest.mark.parametrize("ending", ["index", "data-00000-of-00001", "sha256.json"])
    @pytest.mark.parametrize("how", ["truncated", "emptied", "deleted", "flipped"])
    def test_damage_is_named(self, folder, ending, how):
        save_value(folder, 5, 1.0)
        path = folder.path / f"ckpt-5.{ending}"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 8
        changed = {"truncated": content[: len(content) // 2], "emptied": b"", "flipped": bytes(content)}
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(changed[how])
        found = folder.damage(5)
        if how == "deleted" and ending == "sha256.json":
            assert found is None  # TensorFlow's own checksums remain
            return
        assert found is not None
        assert "ckpt-5" in found
        listed = how != "deleted" or ending != "index"
        assert (folder.steps(), folder.announced()) == ([5] if listed else [], [5])


@pytest.fixture(scope="module")
def adam():
    return lambda: keras.optimizers.Adam(0.05)


@pytest.fixture(scope="module")
def run(make_trainer, rows, adam):
    """run(folder, steps, ...) -> a Trainer that has trained and evaluated."""

    def train(folder, steps=12, **arguments):
        arguments = {"optimizer": adam, "evaluate": True, "checkpoint_interval": 4, "eval_interval": 4, **arguments}
        trainer = make_trainer(train_steps=steps, model_dir=folder, **arguments)
        trainer.train_and_eval()
        return trainer

    return train


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return run(folder), folder


FILES = ["ckpt-8.index", "ckpt-8.data-00000-of-00001", "ckpt-8.sha256.json", "checkpoint"]


class TestDamage:
    @pytest.fixture(scope="class")
    @classmethod
    def stopped(cls, run, tmp_path_factory):
        folder = tmp_path_factory.mktemp("stopped")
        run(folder, 8)
        return folder

    @pytest.mark.parametrize("file", FILES)
    @pytest.mark.parametrize("how", ["emptied", "deleted", "flipped"])
    def test_a_rerun_says_so_and_ends_as_if_nothing_had_happened(
        self, run, stopped, whole, tmp_path, caplog, file, how
    ):
        shutil.copytree(stopped, tmp_path / "run")
        path = tmp_path / "run" / "checkpoints" / file
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        if how == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"" if how == "emptied" else bytes(content))
        same_weights(run(tmp_path / "run"), whole[0])
        harmless = file == "checkpoint" or (file.endswith("json") and how == "deleted")
        if not harmless:
            assert file in caplog.text or "ckpt-8" in caplog.text
            assert "nothing is deleted" in caplog.text


class TestKeeping:
    def test_the_newest_and_those_for_good(self, run, tmp_path):
        run(tmp_path, 12, checkpoint_interval=2, keep_checkpoints=2, keep_every=4)
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4, 8, 10, 12]

    @pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 12)])
    def test_the_best_is_saved_at_once_and_recorded(self, run, tmp_path, mode, best):
        """The loss falls from step to step."""
        arguments = {"eval_interval": 1, "checkpoint_interval": 5, "keep_checkpoints": 1}
        run(tmp_path, 12, best_metric="loss", best_mode=mode, **arguments)
        record = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
        assert (record["step"], record["metric"], record["mode"]) == (best, "loss", mode)
        assert record["checkpoint"] == f"ckpt-{best}"
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == sorted({best, 12})
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        losses = {line["step"]: line["metrics"]["loss"] for line in lines if line["split"] == "eval"}
        assert record["value"] == losses[best]

    def test_the_best_of_a_resumed_run(self, run, tmp_path):
        arguments = {"eval_interval": 1, "best_metric": "test/loss", "best_mode": "max"}
        run(tmp_path / "a", 12, **arguments)
        run(tmp_path / "b", 6, **arguments)
        run(tmp_path / "b", 12, **arguments)
        one, other = ((tmp_path / name / "checkpoints" / "best.json").read_text() for name in "ab")
        assert one == other
        run(tmp_path / "b", 13, **(arguments | {"best_mode": "min"}))  # another question: the old answer is forgotten
        assert json.loads((tmp_path / "b" / "checkpoints" / "best.json").read_text())["step"] == 13

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"best_metric": "loss"}, r"Trainer.best_mode = None: wanted 'max' or 'min'"),
            ({"best_metric": "loss", "best_mode": "most"}, r"Trainer.best_mode = 'most'"),
            ({"best_mode": "max"}, r"Trainer.best_metric = None"),
            ({"best_metric": "los", "best_mode": "max"}, r"Trainer.best_metric = 'los': no evaluation gives it.*loss"),
            ({"best_metric": "loss", "best_mode": "max", "eval_datasets": None}, r"needs Trainer.eval_datasets"),
            ({"keep_every": 0}, r"Trainer.keep_every = 0"),
        ],
    )
    def test_wrong_arguments(self, make_trainer, arguments, message):
        with pytest.raises(UsageError, match=message):
            make_trainer(**{"evaluate": True, **arguments}).train_and_eval()


class TestAFailingDisk:
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

    def test_it_is_tried_again(self, run, whole, tmp_path, monkeypatch, quick, caplog):
        self.failing(monkeypatch, 2)
        same_weights(run(tmp_path), whole[0])
        assert caplog.text.count("The checkpoint of step 8 cannot be written") == 2
        assert "No space left on device. The newest is still that of step 4. Trying again in 0.01 s" in caplog.text

    def test_it_ends_and_a_rerun_goes_on(self, run, whole, tmp_path, monkeypatch, quick):
        with monkeypatch.context() as patch:
            self.failing(patch, 99)
            with pytest.raises(CheckpointError, match=r"step 8 cannot be written.*No space left.*step 4"):
                run(tmp_path)
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4]
        same_weights(run(tmp_path), whole[0])

    def test_metrics_that_cannot_be_written_cost_no_checkpoint(self, run, whole, tmp_path, monkeypatch):
        """metrics.jsonl turns into a folder: the run ends, and the checkpoint of its last step is there."""

        def spoil(trainer, summary):
            if (summary.step, summary.split) == (4, "eval"):
                (tmp_path / "metrics.jsonl").unlink()
                (tmp_path / "metrics.jsonl").mkdir()

        with pytest.raises(OutputError, match="metrics cannot be written") as raised:
            run(tmp_path, actions=[spoil], summary_interval=2, steps_per_loop=1)
        saved = int(re.search(r"The checkpoint of step (\d+) is saved", str(raised.value))[1])
        assert CheckpointFolder(tmp_path / "checkpoints").steps()[-1] == saved >= 4
        (tmp_path / "metrics.jsonl").rmdir()
        same_weights(run(tmp_path), whole[0])


class TestBeingAskedToStop:
    @pytest.fixture
    def asked(self, monkeypatch):
        """asked.append(True) asks."""
        asked = []
        monkeypatch.setattr(preemption, "requested", lambda: bool(asked))
        return asked

    @pytest.mark.parametrize("replicas", [1, 2])
    @pytest.mark.parametrize(("step", "split"), [(3, "train"), (4, "train"), (8, "eval")])
    def test_it_saves_and_a_rerun_ends_as_if_nothing_had_happened(self, run, tmp_path, asked, replicas, step, split):
        """At step 4 the evaluation is left out, and made up for by the rerun."""
        arguments = {"replicas": replicas, "summary_interval": 1, "steps_per_loop": 1}
        control = run(tmp_path / "a", **arguments)

        def ask(trainer, summary):
            if (summary.step, summary.split) == (step, split):
                asked.append(True)

        with pytest.raises(PreemptedError, match="Stopped after step"):
            run(tmp_path / "b", actions=[ask], **arguments)
        asked.clear()
        same_weights(run(tmp_path / "b", **arguments), control)
        one, other = (lines(tmp_path / name) for name in "ab")
        assert one == other

    def test_an_evaluation_ends_early(self, run, tmp_path, asked, regression_task, rows):
        """The first evaluation asks, at its first batch."""
        control = run(tmp_path / "a", steps=4)
        seen = []

        class Asking(Input):
            def open_eval(self):
                feed = super().open_eval()
                rewind, feed.rewind = feed.rewind, lambda: (rewind(), seen and asked.append(True), seen.append(1))
                return feed

        with pytest.raises(PreemptedError):
            run(tmp_path / "b", steps=4, eval_datasets={"test": Asking(rows(40), 16)})
        assert [line["split"] for line in lines(tmp_path / "b")] == ["train"]
        asked.clear()
        same_weights(run(tmp_path / "b", steps=4), control)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")

    def test_signals(self):
        """In a process of its own: SIGTERM asks; a second Ctrl-C stops at once; afterwards all is as before."""
        code = """
import os, signal, time
from tallyloop.trainer.distribution import preemption
for number in (signal.SIGTERM, signal.SIGINT):
    with preemption.on_signals():
        assert not preemption.requested()
        os.kill(os.getpid(), number)
        assert preemption.requested()
        if number == signal.SIGINT:
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            except KeyboardInterrupt:
                print("at once")
    assert not preemption.requested()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "at once\n"), done.stderr
        assert done.stderr.count("saving after this inner loop") == 2


def lines(folder):
    """Without what tells how fast the run was."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in found:
        line["metrics"] = {path: value for path, value in line["metrics"].items() if path not in TIMES}
    return sorted(found, key=lambda line: (line["step"], line["split"]))


class TestLock:
    def test_another_process_is_refused_by_name_until_this_one_is_killed(self, tmp_path):
        code = f"""
import time
from pathlib import Path
from tallyloop.trainer.loop import folder_lock as lock
with lock.locked(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"in use by another run \(pid {other.pid} on {os.uname().nodename}\)"):
            lock.locked(tmp_path).__enter__()
        other.kill()
        other.communicate()
        with lock.locked(tmp_path), lock.locked(tmp_path):
            pass


@pytest.mark.parametrize("after", ["index", "sha256.json"])
def test_a_deletion_that_was_killed_is_finished(tmp_path, monkeypatch, after):
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


def test_a_kill_while_a_checkpoint_is_replaced_costs_none(tmp_path, monkeypatch):
    """Wherever it comes: afterwards there is the old one or the new one, whole; and the only one is never lost."""
    for count in range(20):
        folder = CheckpointFolder(tmp_path / str(count))
        save_value(folder, 5, 1.0)
        killed = killed_at(monkeypatch, lambda folder=folder: save_value(folder, 5, 2.0), count)
        folder.recover()
        assert (folder.steps(), folder.damage(5)) == ([5], None)
        assert value_of(folder, 5) in ((1.0, 2.0) if killed else (2.0,))
        assert not folder.scratch().exists()
        if not killed:
            break
    assert 4 <= count < 19


def test_a_removal_that_had_not_begun_is_not_ended(tmp_path, monkeypatch):
    """The mark was there, and nothing else done: a rerun may have gone on from that checkpoint."""
    folder = CheckpointFolder(tmp_path)
    save_value(folder, 1, 1.0)
    assert killed_at(monkeypatch, lambda: folder.keep_only([], newest=1), 1)
    assert list(tmp_path.glob("*.deleted"))
    folder.recover()
    assert folder.steps() == [1]
    assert not list(tmp_path.glob("*.deleted"))


def test_a_kill_in_the_last_save_is_repaired(run, tmp_path, monkeypatch):
    """The index of the last checkpoint is there, and neither `checkpoint` nor best.json nor the retention knows of it."""
    options = {"checkpoint_interval": 2, "keep_checkpoints": 2, "best_metric": "loss", "best_mode": "min"}
    run(tmp_path / "whole", 12, **options)
    run(tmp_path / "killed", 10, **options)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "_announce", lambda self, newest: None)
        patch.setattr(retention.Retention, "apply", lambda *_: None)
        run(tmp_path / "killed", 12, **options)
    run(tmp_path / "killed", 12, **options)  # nothing to do
    names = [sorted(path.name for path in (tmp_path / each / "checkpoints").iterdir()) for each in ("whole", "killed")]
    assert names[0] == names[1]
    for name in ("best.json", "checkpoint"):
        texts = [(tmp_path / each / "checkpoints" / name).read_text() for each in ("whole", "killed")]
        assert texts[0] == texts[1]


def test_a_damaged_checkpoint_ahead_does_not_count_among_the_newest(run, tmp_path, whole):
    """Only the newest stays: not the damaged one of step 8 instead of those that follow step 4."""
    run(tmp_path, 8, keep_checkpoints=2)
    data = tmp_path / "checkpoints" / "ckpt-8.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    run(tmp_path, 6, keep_checkpoints=1, checkpoint_interval=6)
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.steps() == [6, 8]
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")) == str(folder.prefix(6))


def test_the_list_of_checkpoints_in_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_value(CheckpointFolder(Path("run/checkpoints")), 5, 1.0)
    assert tf.train.latest_checkpoint("run/checkpoints") == "run/checkpoints/ckpt-5"
    assert tf.train.latest_checkpoint(str(tmp_path / "run/checkpoints")) == str(tmp_path / "run/checkpoints/ckpt-5")


def test_a_damaged_checkpoint_is_not_evaluated(run, make_trainer, rows, tmp_path, caplog):
    run(tmp_path, 8)
    data = tmp_path / "checkpoints" / "ckpt-8.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1  # of the optimizer, perhaps; the whole is not what was written
    data.write_bytes(content)
    trainer = make_trainer(evaluate=True, model_dir=tmp_path)
    with pytest.raises(UsageError, match=r"ckpt-8 is damaged: .*data-00000-of-00001 is not what was written"):
        trainer.evaluate(str(tmp_path / "checkpoints" / "ckpt-8"))
    trainer.evaluate()
    assert trainer.step == 4
    assert "ckpt-8 is damaged" in caplog.text
