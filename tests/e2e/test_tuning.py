"""`--mode=tune` on a small config of the user's own."""

import os
import re
import signal
import subprocess

import pytest

MODULE = '''
import gin
import keras
import numpy as np
import tensorflow as tf
from tallyloop.trainer import Task


@gin.register
class Wordy(Task):
    """Has an operation that XLA lacks, if it is asked for."""

    def __init__(self, words=False):
        self.words = words

    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    def loss(self, model, batch, training):
        print("tracing")
        losses = (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2
        zero = 0 * tf.cast(tf.strings.length(tf.strings.as_string(losses)), tf.float32) if self.words else 0.0
        return losses + zero


@gin.register
def slow_rows():
    def rows():
        for number in range(64):
            x = np.full(3, number, np.float32)
            for _ in range(2000):
                x = x + 0
            yield {"x": x, "y": np.float32(number)}

    spec = {"x": tf.TensorSpec((3,)), "y": tf.TensorSpec(())}
    return tf.data.Dataset.from_generator(rows, output_signature=spec)
'''
CONFIG = """
import mine
Trainer.task = @Wordy()
Trainer.optimizer = @keras.optimizers.SGD()
keras.optimizers.SGD.learning_rate = 1e-6
Trainer.train_dataset = @train/Input()
train/Input.source = @slow_rows
train/Input.global_batch_size = 8
Trainer.train_steps = 100000
Trainer.actions = [@StopAfter()]
StopAfter.hours = 1.0
Trainer.writers = [@CsvWriter()]
"""
QUICK = "from tallyloop.trainer.tuning import tune; tune._SECONDS = 1.0"


@pytest.fixture
def tuning(command):
    """Starts it in a folder that has the config and its module, with a folder for temporary files."""
    (command.folder / "mine.py").write_text(MODULE)
    (command.folder / "mine.gin").write_text(CONFIG)
    (command.folder / "tmp").mkdir()

    def start(*arguments):
        streams = {"stdout": subprocess.PIPE, "env": os.environ | {"TMPDIR": str(command.folder / "tmp")}}
        return command.background("--gin_file=mine.gin", "--mode=tune", *arguments, first=QUICK, **streams)

    return start


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def children(pid):
    return subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()


@pytest.mark.slow
class TestTuning:
    def test_its_lines_train_and_nothing_is_left(self, command, tuning):
        before = files(command.folder)
        process = tuning("--gin_param=Wordy.words=True", f"--model_dir={command.model_dir}")
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == 0, printed + errors
        assert files(command.folder) == before
        assert "tracing" not in printed
        assert re.search(
            r"^jit_compile = True +failed: Trainer.jit_compile = True: XLA has no .*AsString", printed, re.M
        )
        chosen = printed[printed.index("Fastest: ") :].split("\n\n")[0]
        assert "train/Input.cache = True" in chosen  # where reading takes all the time
        assert "Note: the examples come in another order" in chosen

        lines = re.findall(r"^      (\S+ = .+)$", chosen, re.M)
        variables = dict(pair.split("=") for pair in re.findall(r"\bTF_\w+=\d+", chosen))
        (command.folder / "faster.gin").write_text('include "mine.gin"\n' + "\n".join(lines) + "\n")
        flags = ["--gin_file=faster.gin", f"--model_dir={command.model_dir}", "--gin_param=Trainer.train_steps=10"]
        done = command.started(*flags, "--mode=train", **variables)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize(
        ("number", "params"),
        [
            (signal.SIGTERM, []),
            # A loop that is longer than a lap may take is cut.
            (
                signal.SIGINT,
                [f"Trainer.{each}=100000" for each in ("steps_per_loop", "summary_interval", "eval_interval")],
            ),
        ],
    )
    def test_leaves_nothing_when_it_is_stopped(self, command, tuning, number, params):
        before = files(command.folder)
        process = tuning(*(f"--gin_param={each}" for each in params))
        for line in process.stdout:
            if line.startswith("as given"):
                break
        started = children(process.pid)
        assert started
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, "left nothing behind" in errors) == (1, True)
        assert files(command.folder) == before
        assert not any(os.path.exists(f"/proc/{pid}") for pid in started)

    def test_a_mistake_in_the_config_is_told_as_ever(self, tuning):
        process = tuning("--gin_param=Trainer.seed=-1")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2
        assert errors.startswith("Error: Trainer.seed = -1: expected")
