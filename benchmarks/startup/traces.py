"""How often a run traces its loops.

The run has short last batches in training and in evaluation, loops of different lengths, and four evaluations.
"""

from __future__ import annotations

import contextlib
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from tallyloop.data import Input
from tallyloop.trainer import Trainer

from ..harness.child import answer
from ..harness.problem import Digits
from . import rows


def traces() -> dict[str, int]:
    """Return `Trainer.traces` after the run."""
    trainer = Trainer(
        task=Digits(),
        optimizer=keras.optimizers.SGD(0.1),
        train_dataset=Input(rows(100), 32, shuffle=True),
        eval_datasets={"test": Input(rows(50), 32)},
        train_steps=20,
        steps_per_loop=3,
        summary_interval=5,
        eval_interval=7,
    )
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        trainer.train_and_eval()
        trainer.evaluate()
    return trainer.traces


if __name__ == "__main__":
    answer(traces())
