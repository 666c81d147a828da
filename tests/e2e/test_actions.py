"""Actions in the real command: stopped, killed, and on two workers."""

import json
import os
import signal
import time

import pytest

PARAM = "--gin_param="
# The loss falls from evaluation to evaluation, so by "max" the first is the best: at step 10.
EARLY = [
    PARAM + binding
    for binding in (
        'EarlyStopping.metric="test/loss"',
        'EarlyStopping.mode="max"',
        "EarlyStopping.patience=4",
        "Trainer.train_steps=1000",
        "Trainer.eval_interval=10",
        "Trainer.summary_interval=5",
        "Trainer.checkpoint_interval=10",
    )
]
STOPPED = "stopped at step 50: EarlyStopping: test/loss has not improved for 4 evaluations: best 1.8"


def attempts(command):
    """Why each attempt ended."""
    return [each["exit_reason"] for each in json.loads((command.model_dir / "run.json").read_text())["attempts"]]


@pytest.mark.slow
def test_a_run_that_was_stopped_stays_stopped(command):
    flags = [*EARLY, PARAM + "Trainer.actions=[@EarlyStopping()]"]
    for extra in ([], [PARAM + "Trainer.train_steps=2000"]):
        done = command.ok(*flags, *extra)
        assert f"\nS{STOPPED[1:]}" in done.stdout
    assert [each.startswith(STOPPED) for each in attempts(command)] == [True, True]
    assert [line["step"] for line in command.lines() if line["split"] == "eval"] == [10, 20, 30, 40, 50]
    assert [path.name for path in (command.model_dir / "checkpoints").glob("*50.index")] == ["ckpt-50.index"]


SLOW = """
import time

import gin


@gin.register
def slow(trainer, summary):
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_stops_where_it_would_have(command, tmp_path):
    """Killed by SIGKILL after each of four evaluations: no attempt sees more than two, and the patience is four."""
    (command.folder / "slow.py").write_text(SLOW)
    flags = [*EARLY, "--import_module=slow", PARAM + "Trainer.actions=[@slow, @EarlyStopping()]"]
    for step in (15, 25, 35, 45):
        run = command.forked("--gin_file=digits.gin", f"--model_dir={command.model_dir}", *flags)
        wait_for_step(command, step, run)
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL
    done = command.ok(*flags)
    assert f"\nS{STOPPED[1:]}" in done.stdout
    killed = command.lines()
    command.ok(*flags, model_dir=tmp_path / "whole")
    assert killed == command.lines(tmp_path / "whole")


def wait_for_step(command, step, process):
    end = time.monotonic() + 120
    path = command.model_dir / "metrics.jsonl"
    while not path.exists() or f'"step": {step}' not in path.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"step {step} was not reached in 120 s"
        time.sleep(0.02)


ASKS = """
import json
import os
import threading

import gin


@gin.register
def asks(trainer, summary):
    if summary.step == 20 and json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
        trainer.stop("worker 1 has had enough")


@gin.register
class Button:
    def start(self, trainer):
        if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1:
            threading.Timer(1.0, trainer.stop, ["a button on worker 1"]).start()
"""


@pytest.mark.slow
def test_two_workers_stop_together(command, short):
    """Asked by an action or a thread of one worker; the same command trains on, and a finder and EarlyStopping act on both."""
    (command.folder / "asks.py").write_text(ASKS)
    flags = ["--workers=2", "--max_restarts=0", "--import_module=asks", *short]
    flags += [PARAM + "Trainer.strategy=@multi_worker_mirrored()", PARAM + "Trainer.summary_interval=10"]
    done = command.ok(*flags, PARAM + "Trainer.actions=[@asks]")
    assert "Stopped at step 20: worker 1 has had enough" in done.stdout
    done = command.ok(*flags, PARAM + "Trainer.actions=[@Button()]", PARAM + "Trainer.train_steps=100000000")
    assert "a button on worker 1" in done.stdout
    assert [each.partition(": ")[2] for each in attempts(command)] == [
        "worker 1 has had enough",
        "a button on worker 1",
    ]
    other = command.folder / "found"
    done = command.ok(*flags, PARAM + "Trainer.actions=[@LearningRateFinder()]", model_dir=other)
    assert "Stopped at step 0: LearningRateFinder: among 1e-07 to " in done.stdout
    actions = "Trainer.actions=[@EarlyStopping(), @WriteHistograms(), @ExportBest()]"
    best = [PARAM + 'Trainer.best_metric="loss"', PARAM + 'Trainer.best_mode="min"']
    early = [*EARLY, PARAM + actions, *best]
    done = command.ok(*flags, *early, model_dir=other)
    assert f"S{STOPPED[1:]}" in done.stdout
    assert (other / "best_export" / "model.keras").exists()
