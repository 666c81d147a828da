"""Step times on several replicas and workers, what these reduce, and what would break first on a thousand.

python -m benchmarks.scaling                # prints the tables
python -m benchmarks.scaling --only small   # the rows with that in their name; the counts all the same
python -m benchmarks.scaling --write        # writes docs/scaling.md too

It has no goals.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import goals
from benchmarks.children.talking import Workers, ask, command
from benchmarks.goals import Command, Measured, Row
from benchmarks.paired import Contestant
from benchmarks.processes import environments
from benchmarks.scaling_counts import Count, counted, sections


class Place(NamedTuple):
    """Where a training runs: on `workers` processes, 0 for one without a cluster, of so many replicas each."""

    workers: int
    replicas: int

    def environments(self) -> list[dict[str, str]]:
        """One a process."""
        return environments(self.workers) if self.workers else [{}]


ONE = "1 replica"
PLACES = {
    ONE: Place(0, 1),
    "2 replicas": Place(0, 2),
    "4 replicas": Place(0, 4),
    "2 workers": Place(2, 1),
}
LAPS = {"small": 400, "large": 20}  # steps
SMALL, LARGE = "small: 64-128-10, batch 64", "large: 64-1024-1024-10, batch 512"
ROWS = tuple(
    row
    for group in (SMALL, LARGE)
    for name in PLACES
    for row in (
        Row(group, f"a step on {name}", name, unit="ms"),
        Row(group, f"efficiency of {name}", ONE, name),
    )
    if row.other != ONE
)
ABOUT = """
The same training on several replicas of one machine (logical CPU devices, `MirroredStrategy`) and on several workers (processes
on this machine, `MultiWorkerMirroredStrategy`), with 16 metrics, 50 steps a loop (10 for the large model). The global batch is
the same everywhere, and all of them share the cores of one machine: the work is the same, and the best that can be is the
step time of one. **Efficiency** is the step time of one replica on one worker over that of several; what is missing to 1 is what
the distribution costs. Each place is a process, or two, of its own; they take turns, and a figure is the median over the rounds.
"""


def contestants(group: str) -> dict[str, Contestant]:
    """A training in each of the places."""
    size = group.partition(":")[0]
    return {
        name: Workers(command("steps", place.workers, place.replicas, size), place.environments(), LAPS[size])
        for name, place in PLACES.items()
    }


def counts() -> dict[str, list[Count]]:
    """Place -> what its graphs reduce."""
    return {
        name: counted(ask("counts", place.workers, place.replicas, environments=place.environments()))
        for name, place in PLACES.items()
    }


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """The step times, then the counts."""
    figures = goals.figures(rows, contestants, rounds)
    return Measured(figures, sections(counts(), ask("costs")))


COMMAND = Command("scaling", "Scaling", ABOUT, ROWS, measure, 20, "rounds of 400 steps each, or 20 of the large model")


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
