"""The config of a teacher and a student: distil."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import ABOVE, Config, Figure, Goal, Reference, last
from ..run import Run, train

_TEACHER = "distil_teacher"
_SEEDS = (0, 1, 2, 3, 4)
_ALONE = "DistillationTask.soft=0"  # the labels have all the weight


def _trained_teacher(folder: Path) -> tuple[str, ...]:
    teacher = train(_TEACHER, (), folder / _TEACHER)
    return (f"DistillationTask.teacher={teacher.folder / 'best_export' / 'model.keras'}",)


def _mean(run: Run, name: str, *parameters: str) -> float:
    """Return the mean test accuracy over the seeds."""
    again = (run.again(f"{name}_{seed}", parameters=(f"Trainer.seed={seed}", *parameters)) for seed in _SEEDS)
    return float(np.mean([last("accuracy")(each) for each in again]))


def _taught(run: Run) -> float:
    return _mean(run, "taught")


def _alone(run: Run) -> Reference:
    return Reference("the same student alone", _mean(run, "alone", _ALONE))


CONFIGS = (
    Config(
        "distil",
        "a small student of a trained teacher",
        """
The student has 64 hidden units; the teacher is the network of `digits_cnn.gin`, trained before by `tallyloop
--gin_file=distil_teacher.gin --model_dir=runs/teacher`, which keeps the best export. Look at it for a task that holds a
second model, for a loss with weighted parts, and for metrics that compare both. Student and reference differ in the weight of
the teacher alone (`--gin_param=DistillationTask.soft=0`); both are trained with five seeds, `--gin_param=Trainer.seed=0` to 4.
""",
        (
            Figure("mean test accuracy, 5 seeds", _taught, ABOVE, _alone),
            Figure("the teacher's test accuracy", last("teacher/accuracy"), Goal(">=", 0.985)),
        ),
        curve="accuracy",
        prepare=_trained_teacher,
    ),
)
