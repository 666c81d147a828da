"""Whether the memory of a long training grows.

python -m benchmarks.memory                      # prints the table
python -m benchmarks.memory --only "2 replicas"
python -m benchmarks.memory --write              # writes docs/memory.md too

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks import goals
from benchmarks.children.talking import ask
from benchmarks.goals import Command, Measured, Row

EARLY, STEPS = 10_000, 100_000
GROWTH, SIZE = "resident memory after 100,000 steps / after 10,000", "resident memory after 100,000 steps, in MB"
SETTINGS = ("1 replica", "2 replicas", "jit_compile")
ROWS = tuple(
    row
    for setting in SETTINGS
    for row in (Row(setting, GROWTH, goal=("<=", 1.01), digits=3), Row(setting, SIZE, digits=0))
)
ABOUT = """
A training of 100,000 steps in a process of its own: an MLP 64-128-10 on the digits, 16 metrics, a summary every 100 steps, an
evaluation and a checkpoint every 2,500. The resident memory is what the system says, right after an evaluation.
"""


def figures_of(setting: str, processes: Sequence[Mapping[str, int]]) -> dict[Row, float]:
    """The rows of a setting, from the bytes that each process had after how many steps: their medians."""
    growth = median(found[f"{STEPS}"] / found[f"{EARLY}"] for found in processes)
    size = median(found[f"{STEPS}"] for found in processes)
    growth_row, size_row = (row for row in ROWS if row.group == setting)
    return {growth_row: growth, size_row: size / 1e6}


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """A process for each setting and round."""
    figures: dict[Row, float | None] = {}
    for setting in dict.fromkeys(row.group for row in rows):
        processes = [_process(setting) for _ in range(rounds)]
        goals.say(f"{setting}: {processes}")
        figures |= figures_of(setting, processes)
    return Measured({row: figures[row] for row in rows})


def _process(setting: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        return ask("remembering", f"{folder}/run", setting, STEPS, EARLY)


COMMAND = Command("memory", "Memory", ABOUT, ROWS, measure, 1, "processes of each setting")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
