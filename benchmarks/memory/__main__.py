"""Whether the memory of a long training grows.

python -m benchmarks.memory                      # prints the table
python -m benchmarks.memory --only "2 replicas"
python -m benchmarks.memory --write              # also writes docs/memory.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median

from ..harness.command import Command, Goal, Measured, Row
from ..harness.processes import ask
from ..harness.report import progress

EARLY = 10_000
STEPS = {"1 replica": 10**5, "2 replicas": 10**5, "jit_compile": 10**5, "stream": 10**6, "rows by number": 10**6}
GROWTH, SIZE = "resident memory at the end / after 10,000 steps", "resident memory at the end, in MB"
ROWS = tuple(
    row
    for setting in STEPS
    for row in (Row(setting, GROWTH, goal=Goal("<=", 1.01), digits=3), Row(setting, SIZE, digits=0))
)
ABOUT = """
Each training runs 100,000 steps in its own process, or 1,000,000 on a stream and on rows that are read by number: an MLP
64-128-10 on the digits, with 16 metrics, a summary every 100 steps, and an evaluation and a checkpoint every 2,500. The resident
memory is what Linux reports right after an evaluation.
"""


def figures_of(setting: str, processes: Sequence[Mapping[str, int]]) -> dict[Row, float]:
    """Return the figures of a setting.

    Args:
      setting: one of `STEPS`.
      processes: for each process, step -> bytes; the figures are their medians.
    """
    end = f"{STEPS[setting]}"
    growth = median(found[end] / found[f"{EARLY}"] for found in processes)
    size = median(found[end] for found in processes)
    growth_row, size_row = (row for row in ROWS if row.group == setting)
    return {growth_row: growth, size_row: size / 1e6}


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Run one process per setting and round."""
    figures: dict[Row, float | None] = {}
    for setting in dict.fromkeys(row.group for row in rows):
        processes = [_process(setting) for _ in range(rounds)]
        progress(f"{setting}: {processes}")
        figures |= figures_of(setting, processes)
    return Measured({row: figures[row] for row in rows})


def _process(setting: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        return ask("memory.training", f"{folder}/run", setting, STEPS[setting], EARLY)


COMMAND = Command(
    name="memory",
    title="Memory",
    reader="users of long runs",
    shows="whether the memory of a training grows over a hundred thousand and a million steps",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=1,
    a_round="processes per setting",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
