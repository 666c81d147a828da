"""How the costs of a training grow with its size, as fitted exponents.

python -m benchmarks.growth                     # prints the tables
python -m benchmarks.growth --only parameters   # one size
python -m benchmarks.growth --write             # also writes docs/growth.md

The exit code is 1 if a cost grows faster than it must.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from ..harness.command import Command, Goal, Measured, Row
from ..harness.processes import ask, cluster_environments
from ..harness.report import aligned, progress

LAST = 3  # points of the fit; 2 of what workers send, as one sends nothing
SLACK = 0.1  # of an exponent
UNITS = {
    "step": (1e3, "ms"),
    "start": (1.0, "s"),
    "memory": (1e-6, "MB"),
    "checkpoint": (1e-6, "MB"),
    "reduced": (1.0, "bytes"),
}


class Axis(NamedTuple):
    """A size that grows.

    Attributes:
      sizes: ascending.
      powers: cost -> the exponent that it must have at most.
    """

    sizes: Sequence[int]
    powers: Mapping[str, float]


ALL = ("step", "start", "memory", "checkpoint")
AXES = {
    "parameters": Axis([10**k for k in range(4, 9)], dict.fromkeys(ALL, 1)),
    "parameters, 2 replicas": Axis([10**k for k in range(4, 9)], dict.fromkeys((*ALL, "reduced"), 1)),
    "metrics": Axis([1, 16, 256, 4096], dict.fromkeys(ALL, 1)),
    "metrics, 2 replicas": Axis([1, 16, 256, 4096], {**dict.fromkeys(ALL, 1), "reduced": 0}),
    "replicas": Axis([1, 2, 4, 8], {"step": 1, "start": 1, "memory": 1, "checkpoint": 0, "reduced": 0}),
    "workers": Axis([1, 2, 4], {"step": 1, "start": 1, "memory": 0, "checkpoint": 0, "reduced": 0}),
    "rows": Axis([10**k for k in (3, 5, 7, 9)], dict.fromkeys(ALL, 0)),
    "vocabulary, 2 workers": Axis(
        [10**k for k in (4, 5, 6)], {"step": 0, "start": 1, "memory": 1, "checkpoint": 1, "reduced": 0}
    ),
    "steps": Axis([10**k for k in (4, 5, 6)], {"step": 0, "memory": 0, "checkpoint": 0}),
}
SENDING = {("workers", "step"), ("workers", "reduced")}
ROWS = [
    Row(axis, f"exponent of {cost}", goal=Goal("<=", power + SLACK))
    for axis, (_, powers) in AXES.items()
    for cost, power in powers.items()
]
ABOUT = f"""
A cost grows as size^exponent: 0 is flat, 1 is proportional, 2 quadruples when the size doubles. An exponent is that of the
line through the logarithms of the {LAST} largest sizes, as constant costs hide the growth of small ones; by workers, those of
the step and of what is reduced are of 2 and 4, as one sends nothing. Each training runs in its own process, on a multilayer
perceptron with two hidden layers, SGD, batches of 16, about 10,000 parameters, 16 metrics, 1 replica and arrays in memory,
unless that is what grows; **rows** are read by number, shuffled, from a source that makes them. Replicas and workers share the
2 cores, and the global batch stays the same. **step** is a train step; **start** is building, tracing and the first sixth of
the run, 100 steps (5 where parameters grow); **memory** is the largest resident memory over that before the training;
**checkpoint** is the size of its files; **reduced** is what a replica's step sends. **vocabulary** is the rows of an embedding
64 wide, trained by Adagrad, of which a batch looks up 128; it is reduced in pieces of 1,024 rows. There, **reduced** is all
that passed between the processes of the machine, and so an upper bound.

Where a step grows faster than it must here, the machine is the reason: 8 replicas or 4 workers share 2 cores, so that each waits
for others that do not run.
"""


def exponent(sizes: Sequence[float], values: Sequence[float], last: int = LAST) -> float:
    """Return the slope of the line through the logarithms of the last points, by least squares."""
    return float(np.polyfit(np.log(sizes[-last:]), np.log(values[-last:]), 1)[0])


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Train each size of the rows' axes in each round, and fit the medians."""
    figures: dict[Row, float | None] = {}
    tables = []
    for axis in dict.fromkeys(row.group for row in rows):
        costs = _costs(axis, rounds)
        for row in (row for row in rows if row.group == axis):
            cost = row.title.split()[-1]
            values = [each[cost] for each in costs.values()]
            figures[row] = exponent(list(costs), values, 2 if (axis, cost) in SENDING else LAST)
        tables.append(_table(axis, costs))
    return Measured(figures, "\n\n".join(tables))


def _costs(axis: str, rounds: int) -> dict[int, dict[str, float]]:
    """Return size -> the medians of its costs; the sizes take turns."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in AXES[axis].sizes}
    for _ in range(rounds):
        for size, each in found.items():
            each.append(ask("growth.training", axis, size, environments=_environments(axis, size)))
            progress(f"{axis} = {size}: {each[-1]}")
    return {size: {cost: median(one[cost] for one in each) for cost in UNITS} for size, each in found.items()}


def _environments(axis: str, size: int) -> list[dict[str, str]]:
    if "2 workers" in axis:
        return cluster_environments(2)
    return cluster_environments(size) if axis == "workers" else [{}]


def _table(axis: str, costs: Mapping[int, Mapping[str, float]]) -> str:
    name = axis.partition(",")[0]
    lines = [[axis, *(f"{cost}, {unit}" for cost, (_, unit) in UNITS.items())]]
    for size, each in costs.items():
        lines.append([f"{size:,}", *(f"{each[cost] * scale:,.4g}" for cost, (scale, _) in UNITS.items())])
    return "\n".join([f"## {name.capitalize()}{axis.removeprefix(name)}", "", *aligned(lines)])


COMMAND = Command(
    name="growth",
    title="Growth",
    reader="people whose trainings grow",
    shows="how step time, memory, checkpoints, start-up and communication grow with parameters, metrics, replicas, workers, "
    "rows, vocabulary and steps",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=3,
    a_round="processes per size",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    return COMMAND.run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
