"""Step times on several replicas and workers, what they reduce, and what would break first on ten thousand replicas.

python -m benchmarks.scaling                # prints the tables
python -m benchmarks.scaling --only small   # only rows whose name contains "small"; the reductions are always counted
python -m benchmarks.scaling --write        # also writes docs/scaling.md

It has no goals.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..harness.command import Command, Measured, Row, figures
from ..harness.paired import Contestant
from ..harness.processes import LapProcesses, ask, cluster_environments, command
from .projection import Count, counted, sections


class Placement(NamedTuple):
    """The place of a training.

    Attributes:
      workers: processes; 0 is one process without a cluster.
      replicas: per worker.
    """

    workers: int
    replicas: int

    def environments(self) -> list[dict[str, str]]:
        """Return what to add to the environment of each process."""
        return cluster_environments(self.workers) if self.workers else [{}]


ONE = "1 replica"
PLACEMENTS = {
    ONE: Placement(0, 1),
    "2 replicas": Placement(0, 2),
    "4 replicas": Placement(0, 4),
    "2 workers": Placement(2, 1),
}
LAPS = {"small": 400, "large": 20}  # steps
SMALL, LARGE = "small: 64-128-10, batch 64", "large: 64-1024-1024-10, batch 512"
ROWS = tuple(
    row
    for group in (SMALL, LARGE)
    for name in PLACEMENTS
    for row in (
        Row(group, f"a step on {name}", name, unit="ms"),
        Row(group, f"efficiency of {name}", ONE, name),
    )
    if row.other != ONE
)
ABOUT = """
The same training runs on several replicas of one machine (logical CPU devices, `MirroredStrategy`) and on several workers
(processes on this machine, `MultiWorkerMirroredStrategy`), with 16 metrics and 50 steps per loop (10 for the large model). The
global batch is the same everywhere and all of them share the cores of one machine, so the total work is constant: at best, every
placement reaches the step time of one replica. **Efficiency** is the step time of one replica on one worker divided by that of
the placement; what it lacks to 1 is the cost of the distribution. Each placement runs in its own process or processes. They take
turns, and a figure is the median over the rounds.
"""


def contestants(group: str) -> dict[str, Contestant]:
    """Return the training of a group on each placement."""
    size = group.partition(":")[0]
    return {
        name: LapProcesses(
            command("scaling.training", place.workers, place.replicas, size), place.environments(), LAPS[size]
        )
        for name, place in PLACEMENTS.items()
    }


def counts() -> dict[str, list[Count]]:
    """Return what the graphs of each placement reduce."""
    return {
        name: counted(ask("scaling.counts", place.workers, place.replicas, environments=place.environments()))
        for name, place in PLACEMENTS.items()
    }


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Measure the step times, then count the reductions."""
    found = figures(rows, contestants, rounds)
    return Measured(found, sections(counts(), ask("scaling.costs")))


COMMAND = Command(
    name="scaling",
    title="Scaling",
    reader="users who train on several replicas or workers",
    shows="how the step time scales on one machine, what each step and each summary reduce, and what would break first on "
    "ten thousand replicas",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=20,
    a_round="rounds of 400 steps each, or of 20 for the large model",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
