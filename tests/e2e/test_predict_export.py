"""Predictions and exports by the real command: killed, on several workers, and used without Tallyloop."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

PARAM = "--gin_param="
MANY = ["--workers=2", PARAM + "Trainer.strategy=@multi_worker_mirrored()"]

SLOW = """
import time

import gin
import keras
import numpy as np
import tensorflow as tf
from tallyloop.models import RegressionTask
from tallyloop.trainer.prediction import predicting

predicting._SHARD_BYTES = 1  # a shard a batch
ROWS = 61


def arrays():
    x = np.random.default_rng(0).normal(size=(ROWS, 2)).astype("float32")
    return {"x": x, "y": x[:, 0]}


gin.register(arrays)


class Rows:
    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        time.sleep(self.seconds)
        return {key: array[row] for key, array in arrays().items()}


def examples(seconds, rows=range(ROWS)):
    def generate():
        found = Rows(seconds)
        for row in rows:
            yield found[row]

    spec = {"x": tf.TensorSpec([2], tf.float32), "y": tf.TensorSpec([], tf.float32)}
    return tf.data.Dataset.from_generator(generate, output_signature=spec)


@gin.register
def rows(seconds=0.0):
    return Rows(seconds)


@gin.register
def stream(seconds=0.0):
    return examples(seconds)


@gin.register
def sharded(shard, shards, seconds=0.0):
    return examples(seconds, [range(7), range(7, 50), range(50, 50), range(50, ROWS)][shard])


@gin.register
def line():
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
"""

CONFIG = """
import slow

Trainer.task = @RegressionTask()
RegressionTask.model = @line
Trainer.optimizer = @keras.optimizers.SGD()
Trainer.train_dataset = @train/Input()
Trainer.train_steps = 2
Input.global_batch_size = 4
train/Input.source = @arrays
Trainer.eval_datasets = {"all": @all/Input()}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, programs):
    """The weights of a short run."""
    folder = tmp_path_factory.mktemp("weights")
    write_files(folder)
    arguments = ["-m", "tallyloop.trainer", "--mode=train", "--gin_file=slow.gin", "--model_dir=run"]
    assert programs.run(arguments, folder).returncode == 0
    return folder / "run" / "checkpoints" / "ckpt-2"


def write_files(folder):
    (folder / "slow.py").write_text(SLOW)
    (folder / "slow.gin").write_text(CONFIG + "all/Input.source = @arrays\n")


@pytest.fixture
def predict(command, checkpoint):
    """predict(source, *arguments, ...) -> the command line of a prediction with these weights, and the file."""
    write_files(command.folder)

    def flags(source, name, *arguments, seconds=0.0):
        given = ["--mode=predict", f"--checkpoint={checkpoint}", f"--model_dir={name}"]
        given += [f"--gin_file={command.folder}/slow.gin", PARAM + f"all/Input.source=@{source}"]
        given += [PARAM + "all/Input.shards=4"] if source == "sharded" else []
        given += [] if source == "arrays" else [PARAM + f"{source}.seconds={seconds}"]
        return [*given, *arguments], command.folder / name / "predictions" / "all.npz"

    return flags


def done(command, arguments):
    found = command.raw(*arguments)
    assert found.returncode == 0, found.stdout + found.stderr
    return found


def wait_for_shards(path, count, process):
    """Wait until so many shards are there."""
    end = time.monotonic() + 120
    while len(list((path.parent / f".{path.name}.shards").glob("*.shard"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"there are no {count} shards after 120 s"
        time.sleep(0.02)


def worker_of(launcher, index):
    """The pid of a worker that the launcher started, in the order of their numbers."""
    return int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[index])


@pytest.mark.slow
@pytest.mark.parametrize(("source", "replicas"), [("rows", 3), ("stream", 1)])
def test_killed_twice_a_prediction_is_that_of_one_that_was_not(command, predict, source, replicas):
    devices = [f"--virtual_cpus={replicas}", PARAM + "Trainer.strategy=@mirrored()"] if replicas > 1 else []
    whole, expected = predict(source, "whole", *devices)
    done(command, whole)
    arguments, path = predict(source, "killed", *devices, seconds=0.03)
    for count in (3, 8):
        process = command.forked(*arguments)
        wait_for_shards(path, count, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not path.exists()
    shards = len(list((path.parent / ".all.npz.shards").glob("*.shard")))
    last = done(command, arguments)
    assert f"continues after {shards} batches that were predicted before" in last.stderr
    assert path.read_bytes() == expected.read_bytes()
    assert [each.name for each in path.parent.iterdir()] == ["all.npz"]
    assert len(np.load(path)["output_0"]) == 61


@pytest.mark.slow
@pytest.mark.parametrize("source", ["arrays", "rows", "stream", "sharded"])
def test_two_workers_predict_as_one(command, predict, source):
    """Of four shards that are of 7, 43, 0 and 11 examples, and so of different numbers of batches on each worker."""
    alone, expected = predict("arrays", "alone")
    done(command, alone)
    arguments, path = predict(source, "two", "--virtual_cpus=2", "--max_restarts=0", *MANY)
    done(command, arguments)
    np.testing.assert_allclose(np.load(path)["output_0"], np.load(expected)["output_0"], atol=1e-6)


@pytest.mark.slow
def test_a_worker_is_killed(command, predict):
    """The launcher starts both again, and they continue."""
    alone, expected = predict("arrays", "alone")
    done(command, alone)
    arguments, path = predict("rows", "two", *MANY, "--max_restarts=1", seconds=0.05)
    process = command.forked(*arguments, stdout=subprocess.PIPE)
    wait_for_shards(path, 6, process)
    os.kill(worker_of(process.pid, 1), signal.SIGKILL)
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, out + error
    assert "restarting all 2 workers" in error
    assert "batches that were predicted before" in error
    np.testing.assert_allclose(np.load(path)["output_0"], np.load(expected)["output_0"], atol=1e-6)


IN_MEMORY = """
import sys

import numpy as np
from tallyloop.trainer import Trainer, multi_worker_mirrored

strategy = multi_worker_mirrored()

import slow
from tallyloop.data import Input
from tallyloop.models import RegressionTask

trainer = Trainer(task=RegressionTask(slow.line), strategy=strategy, train_dataset=Input(slow.arrays, 4))
found = trainer.predict(Input(slow.arrays, 4))
kernel, bias = trainer.model.get_weights()
np.testing.assert_allclose(found, (slow.arrays()["x"] @ kernel + bias)[:, 0], atol=1e-6)
print(f"all {len(found)}")
"""


@pytest.mark.slow
def test_in_memory_every_worker_gets_all(command, predict, programs):
    from tallyloop.trainer.command.group import free_ports

    (command.folder / "memory.py").write_text(IN_MEMORY)
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    workers = [
        programs.start(
            ["memory.py"],
            cwd=command.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})},
        )
        for index in range(2)
    ]
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.callback(worker.kill)
        for worker in workers:
            out, error = worker.communicate(timeout=120)
            assert "all 61" in out, error


WITHOUT = """
import importlib.util
import sys

sys.path[:] = [path for path in sys.path if "tallyloop" not in path]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
assert importlib.util.find_spec("tallyloop") is None

import keras
import numpy as np
import tensorflow as tf

x = np.load("x.npy")
for name in sys.argv[1:]:
    served = tf.saved_model.load(f"{name}/export/saved_model").signatures["serving_default"]
    inputs = tf.constant(x.reshape(-1, 8, 8, 1) if name == "digits_cnn" else x)
    np.savez(f"{name}/served.npz", **served(inputs=inputs))
loaded = keras.models.load_model(f"{sys.argv[1]}/export/model.keras")
np.save("loaded.npy", loaded.predict(x, verbose=0))
"""


@pytest.mark.slow
def test_exports_serve_without_tallyloop(command, short):
    """A plain model; one with custom layers, and averages of its weights; a subclassed one whose layers record metrics."""
    from tallyloop.data import digits

    flags = [PARAM + "Trainer.train_steps=60"]
    x = digits(split="test")["x"]
    np.save(command.folder / "x.npy", x)
    predicted = {}
    for name in ("digits", "digits_cnn", "autoencoder"):
        folder = command.folder / name
        command.ok(*flags, gin_file=f"{name}.gin", model_dir=folder)
        command.ok("--mode=predict", *flags, gin_file=f"{name}.gin", model_dir=folder)
        command.ok("--mode=export", *flags, gin_file=f"{name}.gin", model_dir=folder)
        predicted[name] = np.load(folder / "predictions" / "test.npz")
    (command.folder / "without.py").write_text(WITHOUT)
    found = subprocess.run(
        [sys.executable, "without.py", *predicted], cwd=command.folder, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    served = {name: np.load(command.folder / name / "served.npz") for name in predicted}
    for name in ("digits", "digits_cnn"):
        probabilities = keras.ops.softmax(served[name]["output_0"])
        np.testing.assert_allclose(probabilities, predicted[name]["probabilities"], atol=1e-6)
    loaded, logits = np.load(command.folder / "loaded.npy"), served["digits"]["output_0"]
    np.testing.assert_allclose(loaded, logits, atol=1e-6 * np.abs(logits).max())
    np.testing.assert_allclose(served["autoencoder"]["output_1"], predicted["autoencoder"]["code"], atol=1e-6)
    np.testing.assert_allclose(served["autoencoder"]["output_0"], predicted["autoencoder"]["reconstruction"], atol=1e-6)
