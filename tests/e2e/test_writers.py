"""Writers of a run that is killed by SIGKILL, and run again: every point is there, and none twice."""

import csv
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
include "digits.gin"
import slowly

Trainer.train_steps = 120
Trainer.summary_interval = 10
Trainer.eval_interval = 20
Trainer.checkpoint_interval = 40
Trainer.steps_per_loop = 10
Trainer.actions = [@slowly]
Trainer.writers = [WRITERS]
MlflowWriter.tracking_uri = "sqlite:///STORE"
WandbWriter.mode = "offline"
"""
SLOWLY = """
import time
import gin

@gin.register
def slowly(trainer, summary):
    time.sleep(0.2)
"""


def expected(folder):
    """(split, step) -> loss of metrics.jsonl."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {(line["split"], line["step"]): line["metrics"]["loss"] for line in found}


def of_csv(folder):
    return [
        ((split, int(row["step"])), float(row["loss"]))
        for split in ("train", "eval")
        for row in csv.DictReader((folder / "csv" / f"{split}.csv").open())
    ]


def of_mlflow(folder, store):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{store}")
    (run,) = client.search_runs([client.get_experiment_by_name("tallyloop").experiment_id])
    histories = {split: client.get_metric_history(run.info.run_id, f"{split}/loss") for split in ("train", "eval")}
    return [((split, each.step), each.value) for split, history in histories.items() for each in history]


def of_wandb(folder):
    sys.path.insert(0, str(ROOT / "tests" / "metrics" / "writers" / "outside"))
    from test_wandb_run import rows

    return [
        ((split, row["_step"]), row[f"{split}/loss"])
        for row in rows(folder)
        for split in ("train", "eval")
        if f"{split}/loss" in row
    ]


@pytest.mark.slow
def test_a_killed_run_has_every_point_once(command):
    installed = [name for name in ("mlflow", "wandb") if importlib.util.find_spec(name)]
    writers = ["@CsvWriter()", *(f"@{name.capitalize()}Writer()" for name in installed)]
    store = command.folder / "mlflow.db"
    text = CONFIG.replace("WRITERS", ", ".join(writers)).replace("STORE", str(store))
    bound = [f"{name}writer." for name in ("mlflow", "wandb") if name not in installed]
    text = "\n".join(line for line in text.splitlines() if not line.lower().startswith(tuple(bound)))
    (command.folder / "tracked.gin").write_text(text)
    (command.folder / "slowly.py").write_text(SLOWLY)
    arguments = ["--gin_file=tracked.gin", f"--model_dir={command.model_dir}"]
    run = command.background(*arguments)
    csv_file = command.model_dir / "csv" / "train.csv"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and (not csv_file.exists() or "\n60," not in csv_file.read_text()):
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    done = command.raw(*arguments)
    assert done.returncode == 0, done.stderr
    assert "Trainer.writers" not in done.stderr
    points = expected(command.model_dir)
    assert len(points) == 12 + 6
    found = {"csv": of_csv(command.model_dir)}
    if "mlflow" in installed:
        found["mlflow"] = of_mlflow(command.model_dir, store)
    if "wandb" in installed:
        found["wandb"] = of_wandb(command.model_dir)
    for name, each in found.items():
        assert sorted(key for key, _ in each) == sorted(points), name
        assert dict(each) == pytest.approx(points, rel=1e-12), name
