"""What a background save costs training, in time and memory, for a model of 50 million parameters.

python -m benchmarks.checkpoint_stall             # prints the table
python -m benchmarks.checkpoint_stall --rounds 3
python -m benchmarks.checkpoint_stall --write     # also writes docs/checkpoint_stall.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from ..harness.command import Command, Goal, Measured, Row, figure
from ..harness.processes import ask
from ..harness.report import progress
from .large import LAP

BUSY, IDLE, MEMORY = "all cores busy", "one core idle", "memory"
LOST_TITLE = "training time lost to a save / a synchronous save"
LOST = {BUSY: Row(BUSY, LOST_TITLE, goal=Goal("<=", 0.45)), IDLE: Row(IDLE, LOST_TITLE, goal=Goal("<=", 0.15))}
THREADS = {BUSY: {}, IDLE: {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}}
EXTRA = Row(MEMORY, "the peak with a save - the peak without, in states", goal=Goal("<=", 1.0))
WITH = Row(MEMORY, "the peak with a save, in states above the memory before")
WITHOUT = Row(MEMORY, "the peak without a save, in states above the memory before")
ROWS = (
    *(
        row
        for group, lost in LOST.items()
        for row in (
            lost,
            Row(group, f"training time lost to a save in {LAP} steps", "with", "without", unit="ms", digits=0),
            Row(group, "a synchronous save", "synchronous", unit="ms", digits=0),
            Row(group, f"{LAP} steps without a save", "without", unit="ms", digits=0),
        )
    ),
    EXTRA,
    WITH,
    WITHOUT,
)
ABOUT = f"""
The model has 50 million float32 parameters (200 MB) and trains with plain SGD, so that its parameters are its state.

- **time**: in a process that trains on all cores, and in one that trains on one of them, three things run in turn: {LAP} steps
  of a training that saves once during them, {LAP} steps of one that does not, and `tf.train.Checkpoint.write` of the same state.
  The cost of a save is the difference of the first two, whatever causes it: the snapshot, copies that later steps make, and the
  cores and the disk that the writing uses. A figure is the median over the rounds.
- **memory**: the peak resident memory of a separate process that trains and saves once. A state is the size of the parameters.
  The memory before is that of the process with TensorFlow loaded and nothing built; training itself needs the parameters,
  their gradients and the activations.
"""


def lost(times: Mapping[str, Sequence[float]]) -> float:
    """Return the time that training loses to a save, as a fraction of a synchronous save."""
    laps = zip(times["with"], times["without"], times["synchronous"], strict=True)
    return median((saving - plain) / synchronous for saving, plain, synchronous in laps)


def in_states(found: Mapping[str, float]) -> dict[Row, float]:
    """Return the figures of the memory from bytes."""
    state = found["state"]
    return {
        EXTRA: (found["with"] - found["without"]) / state,
        WITH: (found["with"] - found["before"]) / state,
        WITHOUT: (found["without"] - found["before"]) / state,
    }


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Measure the times in `rounds` rounds, and the memory, each in a process of its own."""
    figures: dict[Row, float | None] = {}
    groups = dict.fromkeys(row.group for row in rows)
    with tempfile.TemporaryDirectory() as name:
        for group in [group for group in THREADS if group in groups]:
            times = ask("checkpoint_stall.timing", Path(name) / group, rounds, environments=[THREADS[group]])
            progress(f"{group}: medians { ({name: round(median(each), 3) for name, each in times.items()}) } s")
            figures |= {row: figure(row, times) for row in ROWS if row.group == group and row.one} | {
                LOST[group]: lost(times)
            }
        if MEMORY in groups:
            figures |= in_states(ask("checkpoint_stall.saving", Path(name) / "memory"))
    return Measured({row: figures[row] for row in rows})


COMMAND = Command(
    name="checkpoint_stall",
    title="What a save costs",
    reader="users with large models",
    shows="what a background save costs training, in time and in memory",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=12,
    a_round=f"rounds of {LAP} steps each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
