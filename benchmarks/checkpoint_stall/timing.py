"""The time that a background save takes from training: `python -m benchmarks.checkpoint_stall.timing FOLDER ROUNDS`.

Answers with the seconds of each lap. `TF_NUM_INTRAOP_THREADS` tells on how many cores it trains.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from ..harness.child import answer
from ..harness.paired import Calls, Contestant, Gated, laps
from . import large
from .large import LAP


def contestants(folder: Path) -> dict[str, Contestant]:
    """Return the contestants; their times are per lap, not per step."""
    checkpoint = tf.train.Checkpoint(model=large.build_model())
    return {
        "with": Gated(_training(folder / "with", LAP), 1),
        "without": Gated(_training(folder / "without", large.ENDLESS), 1),
        "synchronous": Calls(lambda: checkpoint.write(str(folder / "synchronous")), 1),
    }


def _training(folder: Path, save_every: int) -> Callable[[Callable[[], None]], None]:
    def run(halt: Callable[[], None]) -> None:
        def halt_at_lap(trainer, summary) -> None:
            if summary.step % LAP == 0:
                halt()

        large.trainer(folder, save_every, halt_at_lap, train_steps=large.ENDLESS).train()

    return run


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        times = laps(contestants(Path(sys.argv[1])), int(sys.argv[2]))
    answer(times)
