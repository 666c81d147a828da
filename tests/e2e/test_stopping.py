"""Being asked to stop at any moment, and a second run in the same folder: the real command, real signals."""

import json
import os
import pty
import signal
import time

import pytest
from tallyloop.trainer.loop import folder_lock as lock

TELLS = """
import gin
from tallyloop.trainer import Task

@gin.register
class Telling(Task):
    def build_model(self):
        print("it builds the model", flush=True)
"""


DRIPS = """
import time

import gin
import tensorflow as tf
from tallyloop.data import digits

@gin.register
def dripping():
    rows = digits("train")

    def examples():
        for x, y in zip(rows["x"], rows["y"]):
            time.sleep(0.005)
            yield {"x": x, "y": y}

    spec = {"x": tf.TensorSpec([64], tf.float32), "y": tf.TensorSpec([], tf.int64)}
    return tf.data.Dataset.from_generator(examples, output_signature=spec)
"""


@pytest.mark.slow
def test_a_run_ends_though_its_source_is_python_code_that_still_reads_ahead(command):
    (command.folder / "drips.py").write_text(DRIPS)
    bindings = ("train/Input.source=@dripping", "train/Input.shuffle=False", "Trainer.train_steps=3")
    flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", "--import_module=drips", "--mode=train"]
    done = command.started(*flags, *(f"--gin_param={each}" for each in bindings))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_sigterm_while_tensorflow_is_loaded_is_no_death(command):
    """A module that is imported after TensorFlow sends it."""
    (command.folder / "taken_away.py").write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGTERM)\n")
    flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}"]
    done = command.started(*flags, "--import_module=taken_away")
    assert done.returncode == 42, done.stderr
    assert done.stderr.splitlines() == [
        "SIGTERM: saving after this inner loop. Press Ctrl-C again to stop at once.",
        "Stopped while starting. The same command continues.",
    ]
    assert not command.model_dir.exists()


def test_a_second_run_is_refused_before_it_builds_anything(command):
    (command.folder / "telling.py").write_text(TELLS)
    with lock.locked(command.model_dir):
        done = command("--import_module=telling", "--gin_param=Trainer.task=@Telling()")
    assert done.returncode == 2
    assert f"in use by another run (pid {os.getpid()} on " in done.stderr
    assert "it builds the model" not in done.stdout


@pytest.fixture
def in_one_loop(command):
    """The command in an inner loop of many minutes."""
    bindings = ("train_steps=100000000", "steps_per_loop=100000000", "summary_interval=100000000")
    intervals = ("eval_interval=100000000", "checkpoint_interval=100000000")
    given = [f"--gin_param=Trainer.{binding}" for binding in bindings + intervals]
    with command.forked("--gin_file=digits.gin", f"--model_dir={command.model_dir}", *given) as running:
        end = time.monotonic() + 120
        while not (command.model_dir / "run.json").exists() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(2)  # from there to the loop
        yield running
        running.kill()


def test_a_second_ctrl_c_ends_an_inner_loop_at_once(command, in_one_loop):
    in_one_loop.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert in_one_loop.poll() is None
    asked = time.monotonic()
    in_one_loop.send_signal(signal.SIGINT)
    assert in_one_loop.wait(10) == 1
    assert time.monotonic() - asked < 4
    assert in_one_loop.stderr.read().splitlines() == [
        "SIGINT: saving after this inner loop. Press Ctrl-C again to stop at once.",
        "Stopped. The same command continues from the last checkpoint.",
    ]
    assert json.loads((command.model_dir / "run.json").read_text())["exit_reason"] is None


SLOW = """
import time

import gin

@gin.register
def slow(trainer, summary):
    time.sleep(0.3)
"""


@pytest.mark.slow
def test_a_closed_terminal_saves(command):
    """The run has a real terminal, with the progress bar; what it prints after that goes nowhere."""
    (command.folder / "slow.py").write_text(SLOW)
    bindings = ("Trainer.actions=[@slow]", "Trainer.summary_interval=5")
    flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", "--import_module=slow"]
    ours, its = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), its)
    flags += [f"--gin_param={each}" for each in bindings]
    acquire = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    run = command.background(
        *flags, first=acquire, **streams, start_new_session=True, env=os.environ | {"TERM": "xterm"}
    )
    os.close(its)
    end = time.monotonic() + 120
    while not (command.model_dir / "metrics.jsonl").exists() and time.monotonic() < end:
        os.read(ours, 4096)
    os.close(ours)
    assert run.wait(60) == 42
    saved = [path.stem for path in (command.model_dir / "checkpoints").glob("*.index")]
    assert json.loads((command.model_dir / "run.json").read_text())[
        "exit_reason"
    ] == "PreemptedError: Stopped after step " + (saved[0].removeprefix("ckpt-") + ".")
