"""A study of real trainings, killed and stopped on the way."""

import json
import signal
import time

import pytest

CONFIG = """
include "digits.gin"
Trainer.best_metric = "accuracy"
Trainer.best_mode = "max"
Trainer.train_steps = 4000
Trainer.eval_interval = 200
Trainer.checkpoint_interval = 200
mlp.hidden = (%search.int(16, 32),)
"""


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.slow
def test_is_killed_and_stopped_and_ends_with_the_best_config(command):
    (command.folder / "search.gin").write_text(CONFIG)
    folder = command.folder / "runs" / "s"
    arguments = ["--gin_file=search.gin", f"--model_dir={folder.parent}", "--study=s", "--trials=1"]
    trial = folder / "trial-0000"

    process = command.background(*arguments)
    wait_for((trial / "checkpoints" / "ckpt-200.index").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()  # the kernel ends its training with it, or else the folder would be in use

    lines = (trial / "metrics.jsonl").read_text().count("\n")
    process = command.background(*arguments)
    wait_for(lambda: (trial / "metrics.jsonl").read_text().count("\n") > lines + 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 42

    done = command.started(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((trial / "run.json").read_text())
    assert record["exit_reason"] == "done"
    assert len(record["attempts"]) == 3
    evals = [
        each for each in map(json.loads, (trial / "metrics.jsonl").read_text().splitlines()) if each["split"] == "eval"
    ]
    assert [each["step"] for each in evals] == list(range(200, 4001, 200))
    best = max(each["metrics"]["accuracy"] for each in evals)
    assert json.loads((trial / "trial.json").read_text())["value"] == best
    assert any(b"mlp.hidden" in path.read_bytes() for path in trial.glob("*tfevents*"))  # a row of HParams
    text = (folder / "best.gin").read_text()
    assert text.startswith(f"# Trial 0 of the study s: accuracy {best!r}\n")

    again = command.started(f"--gin_file={folder / 'best.gin'}", "--model_dir=again")
    assert again.returncode == 0, again.stdout + again.stderr
    same = [json.loads(line) for line in (command.folder / "again" / "metrics.jsonl").read_text().splitlines()]
    assert [each["metrics"]["accuracy"] for each in same if each["split"] == "eval"] == [
        each["metrics"]["accuracy"] for each in evals
    ]
