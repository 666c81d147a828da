"""Damaged configs and checkpoints: a clear error or a right result, never a hang, a crash or a bare traceback."""

import shutil
from pathlib import Path

import numpy as np
import tallyloop.data
import tallyloop.models
import tallyloop.trainer  # noqa: F401
import tensorflow as tf
from mutations import changed, mutated
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config
from tallyloop.trainer.checkpointing import restore as checkpoints
from tallyloop.trainer.checkpointing.folder import CheckpointFolder

ROOT = Path(__file__).parents[2]


def gin_check(folder):
    config.register_keras()
    texts = [path.read_text() for path in sorted((ROOT / "gin").glob("*.gin"))]

    def check(seed):
        path = folder / "changed.gin"
        path.write_bytes(changed(texts[seed % len(texts)], seed))
        said = "no Config"
        try:
            loaded = config.load([str(path)], [], [str(ROOT / "gin")])
        except UsageError as error:
            said = str(error)
            clear = ".gin" in said and "Traceback" not in said
        else:
            clear = isinstance(loaded, config.Config)
        assert clear, said

    return check


def checkpoint_check(folder):
    def state(value):
        model = tf.train.Checkpoint(w=tf.Variable(tf.fill([7, 3], float(value))), b=tf.Variable([value] * 5))
        return tf.train.Checkpoint(model=model, step=tf.Variable(value, dtype=tf.int64))

    def values(restored):
        return [restored.model.w.numpy(), restored.model.b.numpy(), restored.step.numpy()]

    whole = folder / "whole"
    made = CheckpointFolder(whole)
    for step in (1, 2):
        made.add(step, lambda prefix, step=step: state(step).write(str(prefix)))

    def check(seed):
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        damaged = sorted([*copy.glob("ckpt-2*"), copy / "checkpoint"])[seed % 4]
        damaged.write_bytes(mutated(damaged.read_bytes(), seed))
        restored = state(0)
        try:
            step = checkpoints.restore_newest(restored, CheckpointFolder(copy))
        except UsageError as error:
            raise AssertionError(f"{damaged.name}: {error}") from error
        assert step in (1, 2), damaged.name
        for got, expected in zip(values(restored), values(state(step)), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=damaged.name)
        assert len(list(copy.glob("ckpt-*"))) == len(list(whole.glob("ckpt-*")))

    return check
