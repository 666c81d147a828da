import json

import pytest

OPERATIVE = """# Macros
batch_size = 64

# Bindings
Adam.learning_rate = {rate}
Trainer.best_metric = 'accuracy'
Trainer.best_mode = 'max'
"""


def line(step, split, counts=None, **metrics):
    return json.dumps({"step": step, "split": split, "metrics": metrics, "counts": counts or {}}) + "\n"


@pytest.fixture
def make_run(tmp_path):
    """Write a run folder as a run does: two evaluations, the first of which was the better one."""

    def make(name="a", rate=0.1, accuracies=(0.9, 0.8), exit_reason="done", extra="", **record):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        lines = [
            line(
                100, "train", loss=2.0, **{"time/step_ms": 10.0, "time/data_wait_fraction": 0.5, "time/compile_s": 3.0}
            ),
            line(100, "eval", accuracy=accuracies[0], loss=1.5, **{"time/eval_s": 0.25}),
            line(200, "train", loss=1.0, **{"time/step_ms": 20.0, "time/data_wait_fraction": 0.0}),
            line(200, "eval", accuracy=accuracies[1], loss=1.25, **{"time/eval_s": 0.5}),
        ]
        (folder / "metrics.jsonl").write_text("".join(lines) + extra)
        (folder / "operative_config.gin").write_text(OPERATIVE.format(rate=rate))
        attempt = {"start": "2026-01-01T10:00:00+00:00", "end": "2026-01-01T10:00:10+00:00"} | record
        attempt["exit_reason"] = exit_reason
        (folder / "run.json").write_text(json.dumps({**attempt, "attempts": [attempt]}))
        return folder

    return make
