"""The memory that a background save adds to training: `python -m benchmarks.checkpoint_stall.saving FOLDER`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from ..harness.child import answer, peak_memory, reset_peak_memory, resident_memory
from . import large

SAVE, END = 8 * large.LOOP, 20 * large.LOOP  # steps; the one save is in the middle, so that it ends before the run does
WARM_UP = 2 * large.LOOP  # steps: traces and first allocations


class Peaks:
    """An action that notes the peak memory of each loop.

    The loop after step `SAVE` is the first with the save in it.

    Attributes:
      of: step -> the peak in bytes of the loop that ends there.
    """

    def __init__(self):
        self.of: dict[int, int] = {}

    def __call__(self, trainer, summary) -> None:
        """Note the peak, and start the next one."""
        self.of[summary.step] = peak_memory()
        reset_peak_memory()

    def highest(self, after: int, upto: int) -> int:
        """Return the highest peak of the loops that end in (after, upto]."""
        return max(peak for step, peak in self.of.items() if after < step <= upto)


def measure(folder: Path) -> dict[str, float]:
    """Return bytes: the state, the memory before there was any, and the peaks of training without and with a save."""
    tf.zeros([8, 8]) @ tf.zeros([8, 8])  # TensorFlow's own start
    before, peaks = resident_memory(), Peaks()
    trainer = large.trainer(folder, SAVE, peaks, train_steps=END)
    trainer.train()
    return {
        "state": large.state_bytes(trainer.model),
        "before": before,
        "without": peaks.highest(WARM_UP, SAVE),
        "with": peaks.highest(SAVE, 2 * SAVE),
    }


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = measure(Path(sys.argv[1]))
    answer(found)
