"""What a background save adds to the memory of a training: `python -m benchmarks.children.saving FOLDER`."""

import contextlib
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from benchmarks.children import large, resident
from benchmarks.children.talking import answer

SAVE, END = 8 * large.LOOP, 20 * large.LOOP  # steps; the one save is in the midst, so that it ends before the run does
WARM_UP = 2 * large.LOOP  # steps: traces and first allocations


class Peaks:
    """An action: the peak of each loop; that of the loop after step `SAVE` is the first with the save in it."""

    def __init__(self):
        self.of: dict[int, int] = {}  # step -> the peak up to there

    def __call__(self, trainer, summary) -> None:
        """Notes it, and starts the next."""
        self.of[summary.step] = resident.peak()
        resident.reset_peak()

    def most(self, after: int, upto: int) -> int:
        """In the loops that end in (after, upto]."""
        return max(peak for step, peak in self.of.items() if after < step <= upto)


def measure(folder: Path) -> dict[str, float]:
    """In bytes: the state, the memory before there was any, and the peaks of training without and with a save."""
    tf.zeros([8, 8]) @ tf.zeros([8, 8])  # TensorFlow's own start
    before, peaks = resident.now(), Peaks()
    trainer = large.trainer(folder, SAVE, peaks, train_steps=END)
    trainer.train()
    return {
        "state": large.state_bytes(trainer.model),
        "before": before,
        "without": peaks.most(WARM_UP, SAVE),
        "with": peaks.most(SAVE, 2 * SAVE),
    }


if __name__ == "__main__":
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        found = measure(Path(sys.argv[1]))
    answer(found)
