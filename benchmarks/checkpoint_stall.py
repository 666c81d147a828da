"""What a save in the background takes from training: time and memory, for a model of 50 million parameters.

python -m benchmarks.checkpoint_stall             # prints the table
python -m benchmarks.checkpoint_stall --rounds 3
python -m benchmarks.checkpoint_stall --write     # writes docs/checkpoint_stall.md too

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from benchmarks import goals
from benchmarks.children import large
from benchmarks.children.talking import ask
from benchmarks.goals import Command, Measured, Row
from benchmarks.paired import Calls, Contestant, Gated

LAP = 4 * large.LOOP  # steps
TIME, MEMORY = "time", "memory"
LOST = Row(TIME, "training time lost by a save / a synchronous save", goal=("<=", 0.15))
EXTRA = Row(MEMORY, "the peak with a save - the peak without, in states", goal=("<=", 1.0))
WITH = Row(MEMORY, "the peak with a save, in states beyond the memory before")
WITHOUT = Row(MEMORY, "the peak of training without a save, likewise")
ROWS = (
    LOST,
    Row(TIME, f"training time lost by a save in {LAP} steps", "with", "without", unit="ms", digits=0),
    Row(TIME, "a synchronous save", "synchronous", unit="ms", digits=0),
    Row(TIME, f"{LAP} steps without a save", "without", unit="ms", digits=0),
    EXTRA,
    WITH,
    WITHOUT,
)
ABOUT = f"""
A model of 50 million float32 parameters (200 MB), trained by plain SGD, so that its parameters are its state.

- **time**: {LAP} steps of a training that saves once in them, {LAP} steps of one that does not, and
  `tf.train.Checkpoint.write` of the same state, in turn. What a save costs is the difference of the first two, whatever
  its cause: the snapshot, copies made by the steps after it, and the cores and the disk that the writing takes. A figure
  is the median of the rounds.
- **memory**: the peak resident memory of a process of its own that trains, and saves once. A state is the size of the
  parameters. The memory before is that of the process with TensorFlow loaded and nothing built; training itself needs the
  parameters, their gradients and the activations.
"""


def contestants(folder: Path) -> dict[str, Contestant]:
    """Laps as a whole, not a step of them."""
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


def lost(times: Mapping[str, Sequence[float]]) -> float:
    """The part of a synchronous save that training loses."""
    laps = zip(times["with"], times["without"], times["synchronous"], strict=True)
    return median((saving - plain) / synchronous for saving, plain, synchronous in laps)


def in_states(found: Mapping[str, float]) -> dict[Row, float]:
    """The rows of the memory, from the bytes."""
    state = found["state"]
    return {
        EXTRA: (found["with"] - found["without"]) / state,
        WITH: (found["with"] - found["before"]) / state,
        WITHOUT: (found["without"] - found["before"]) / state,
    }


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """The rows of time from `rounds` laps; those of memory from one process."""
    figures: dict[Row, float | None] = {}
    with tempfile.TemporaryDirectory() as name:
        if any(row.group == TIME for row in rows):
            times = goals.timed(TIME, contestants(Path(name)), rounds)
            figures |= {row: goals.figure(row, times) for row in ROWS if row.one} | {LOST: lost(times)}
        if any(row.group == MEMORY for row in rows):
            figures |= in_states(ask("saving", Path(name) / "memory"))
    return Measured({row: figures[row] for row in rows})


COMMAND = Command("checkpoint_stall", "What a save costs", ABOUT, ROWS, measure, 12, f"rounds of {LAP} steps each")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
