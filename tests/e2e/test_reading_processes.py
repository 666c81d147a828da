"""`Input.read_processes` in the real command: the same run as with threads, and no process left however it ends."""

import os
import signal
import time
from pathlib import Path

import pytest

MODULE = """
import os
import sys
import time
from pathlib import Path

import gin
import numpy as np

PIDS = Path("pids")


@gin.register(module="reading")
def noisy(example, rng, scale=0.0):
    if os.environ.get("SLOW"):
        time.sleep(0.001)
    if "worker.py" in sys.argv[0]:
        assert "tensorflow" not in sys.modules
        PIDS.mkdir(exist_ok=True)
        (PIDS / str(os.getpid())).touch()
    return {**example, "x": example["x"] + np.float32(scale * rng.normal())}
"""
PARAMS = [
    "--import_module=reading",
    "--gin_param=train/Input.transform=@train/reading.noisy",
    "--gin_param=train/reading.noisy.scale=0.5",
    "--gin_param=Trainer.train_steps=100",
    "--gin_param=Trainer.checkpoint_interval=10",
    "--gin_param=Trainer.steps_per_loop=5",
    "--gin_param=Trainer.summary_interval=10",
]
PROCESSES = "--gin_param=train/Input.read_processes=2"


@pytest.fixture
def reading(command):
    (command.folder / "reading.py").write_text(MODULE)
    return command


@pytest.fixture
def threads(reading):
    """The lines of the run with threads."""
    model_dir = reading.folder / "threads"
    reading.ok(*PARAMS, model_dir=model_dir)
    return reading.lines(model_dir)


def start(command, *flags):
    """Start the run, slowly, in a group of its own."""
    given = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", *flags]
    return command.forked(*given, env=os.environ | {"SLOW": "1"}, start_new_session=True)


def readers(command):
    """The processes that have read rows, dead ones included: one of them gave the first batch, to check the task."""
    return [int(path.name) for path in (command.folder / "pids").glob("*")]


def alive(command):
    return [pid for pid in readers(command) if not gone(pid)]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition, run):
    end = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.01)


def steps_done(command):
    try:
        return len((command.model_dir / "metrics.jsonl").read_text().splitlines())
    except FileNotFoundError:
        return 0


def test_the_same_run_as_with_threads_though_readers_are_killed_and_the_group_is_stopped(reading, threads):
    """A reader is killed by its pid; SIGTERM goes to the whole group, and the same command continues."""
    run = start(reading, *PARAMS, PROCESSES)
    wait_until(lambda: steps_done(reading) >= 2, run)
    victim = max(alive(reading))
    os.kill(victim, signal.SIGKILL)
    done = steps_done(reading)
    wait_until(lambda: steps_done(reading) > done + 1, run)
    assert len(alive(reading)) >= 2
    os.killpg(run.pid, signal.SIGTERM)
    error = run.communicate(timeout=60)[1]
    assert run.returncode == 42, error
    assert "Traceback" not in error
    assert f"the process {victim}, which read rows" in error
    assert not alive(reading)
    reading.ok(*PARAMS, PROCESSES)
    assert reading.lines() == threads
    assert not alive(reading)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left(reading, stop):
    """Of a run that is killed alone, or stopped twice as by Ctrl-C, which goes to the whole group."""
    before = set(os.listdir("/dev/shm"))
    run = start(reading, *PARAMS, PROCESSES)
    wait_until(lambda: len(alive(reading)) >= 2, run)
    if stop == signal.SIGKILL:
        run.kill()
    else:
        for _ in range(2):
            os.killpg(run.pid, stop)
            time.sleep(0.2)
    error = run.communicate(timeout=60)[1]
    time.sleep(1)
    assert not alive(reading)
    assert set(os.listdir("/dev/shm")) == before
    assert "worker.py" not in error


def test_two_workers_have_their_own(reading):
    """Each of the two reads in two; the launcher is killed, and nothing is left."""
    many = "--gin_param=Trainer.strategy=@multi_worker_mirrored()"
    run = start(reading, *PARAMS, PROCESSES, many, "--workers=2")
    wait_until(lambda: len(alive(reading)) >= 4, run)
    run.kill()
    run.communicate(timeout=60)
    end = time.monotonic() + 10
    while alive(reading):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_errors_of_the_transform_are_told_with_its_line(reading):
    (reading.folder / "reading.py").write_text(MODULE.replace("return {", 'assert example["y"] != 7\n    return {'))
    done = reading(*PARAMS, PROCESSES)
    assert done.returncode == 2
    assert "Error: Input.transform, row " in done.stderr
    assert "AssertionError" in done.stderr
    assert f'{reading.folder / "reading.py"}", line' in done.stderr
