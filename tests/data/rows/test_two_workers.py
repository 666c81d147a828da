"""Arrays with a `map_fn`, in the real command on two workers."""

import collections
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input

MODULE = """
import os

import gin
import tensorflow as tf
from tallyloop.data import digits


@gin.register
def numbered():
    arrays = digits("train")
    return {**arrays, "row": tf.range(len(arrays["y"]), dtype=tf.int64)}


def note(row):
    with open(f"rows-{os.getpid()}.txt", "a") as file:
        file.write(f"{row}\\n")
    return row


@gin.register
def noisy(example, seed):
    row = tf.numpy_function(note, [example["row"]], tf.int64)
    with tf.control_dependencies([row]):
        x = example["x"] + 0.1 * tf.random.stateless_normal(example["x"].shape, seed)
    return {"x": x, "y": example["y"]}
"""
BATCH, ROWS, STEPS, AHEAD = 64, 1438, 15, 400


def train(folder, *flags):
    """Train for 15 steps; return the weights and slots in the checkpoint by name, and the rows mapped by each process."""
    folder.mkdir()
    (folder / "noisy.py").write_text(MODULE)
    given = ["train/Input.source=@numbered", "train/Input.map_fn=@noisy", f"Trainer.train_steps={STEPS}", *flags]
    arguments = ["--gin_file=digits.gin", "--model_dir=run", "--import_module=noisy"]
    arguments += [each if each.startswith("--") else f"--gin_param={each}" for each in given]
    command = [sys.executable, "-m", "tallyloop.trainer", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    checkpoint = tf.train.load_checkpoint(str(folder / "run" / "checkpoints" / f"ckpt-{STEPS}"))
    names = [name for name in checkpoint.get_variable_to_shape_map() if name.startswith(("model/", "optimizer/"))]
    texts = [file.read_text() for file in folder.glob("rows-*.txt")]
    return {name: checkpoint.get_tensor(name) for name in names}, [[*map(int, text.split())] for text in texts]


def rows_of(worker, steps):
    """How often each row is in the part of a worker of two, of one replica each, in the first steps."""
    feed = Input({"row": np.arange(ROWS)}, BATCH).open_train()
    plan = feed.plan(tf.constant(0, tf.int64), steps)
    parts = [feed.fetch(plan, tf.constant(i, tf.int64)) for i in range(steps)]
    found = [feed.shard(part, n, worker, 2)[0]["row"].numpy() for part, n in parts]
    return collections.Counter(np.concatenate(found).tolist())


@pytest.mark.slow
def test_each_maps_its_own_rows_only_and_draws_what_one_worker_does(tmp_path):
    """The bits of one worker of two replicas. Beside its rows, each maps the first batch, to check the task, and reads ahead."""
    one, _ = train(tmp_path / "one", "--virtual_cpus=2", "Trainer.strategy=@mirrored()")
    many = ("--workers=2", "--max_restarts=0", "Trainer.strategy=@multi_worker_mirrored()")
    two, mapped = train(tmp_path / "two", *many)
    assert len(one) > 4
    for name, values in one.items():
        np.testing.assert_array_equal(two[name], values, err_msg=name)
    assert len(mapped) == 2
    first = rows_of(0, 1) + rows_of(1, 1)
    used, ahead = ([rows_of(worker, steps) for worker in range(2)] for steps in (STEPS, AHEAD))
    found = [collections.Counter(rows) - first for rows in mapped]
    own = [[worker for worker in range(2) if used[worker] <= rows <= ahead[worker]] for rows in found]
    assert sorted(own) == [[0], [1]]
