"""Run folders for the report to read: each with the metrics and the config of a run of digits.gin with 100 evaluations."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUNS = 50
_CONFIG = Path(__file__).with_name("operative_config.gin").read_text()  # of a run of digits.gin


def make(folder: Path) -> Path:
    """Make `RUNS` run folders, with different learning rates, in a new folder; return that folder."""
    runs = folder / "runs"
    for number in range(RUNS):
        run = runs / f"run-{number}"
        run.mkdir(parents=True)
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in _lines(random.Random(number))))
        (run / "operative_config.gin").write_text(
            _CONFIG.replace("learning_rate = 0.001", f"learning_rate = {number / 100}")
        )
    return runs


def _lines(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Yield what a run writes at each of 100 summaries: the metrics of training, and those of an evaluation."""
    for step in range(100, 10_100, 100):
        times = {
            "time/step_ms": 2.8 + chance.random(),
            "time/host_fraction": chance.random(),
            "time/data_wait_fraction": chance.random() / 10,
            "throughput/examples_per_sec": 21942 + chance.random(),
            "time/writers_s": chance.random() / 100,
        }
        results = {"accuracy": chance.random(), "loss": chance.random()}
        rest = {"wall_time": 1.0, "counts": {"accuracy": 6264.0, "loss": 6264.0}}
        train = results | times | {"learning_rate": 0.0010000000474974513}
        yield {"step": step, "split": "train", "metrics": train, **rest}
        yield {"step": step, "split": "eval", "metrics": results | {"time/eval_s": chance.random()}, **rest}
