"""Runs side by side: their metrics, what differs in their configs, and where their time went."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...metrics.errors import UsageError, did_you_mean
from .run import Metric, Points, Run

Cell = str | int | float | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a title; the first column names the rows. `glued` columns belong to the one before."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    glued: Sequence[str] = ()


_BEST = ("best", "at step")
_PARTS = {
    "compile": "time/compile_s",
    "evaluation": "time/eval_s",
    "checkpoints": "time/checkpoint_blocked_s",
    "actions": "time/actions_s",
    "writers": "time/writers_s",
}


def metrics_of(runs: Iterable[Run]) -> list[Metric]:
    """Return all metrics: first those that the configs call best, then those whose better side is known, evaluations first."""
    every = {metric: run for run in runs for metric in run.metrics}
    best = {run.best_metric for run in every.values()}

    def order(metric: Metric) -> tuple[Any, ...]:
        is_judged = every[metric].mode(metric) is not None
        is_eval = metric.split != "train"
        return metric not in best, not is_judged, not is_eval, "/" in metric.path, metric.path, metric.split

    return sorted(every, key=order)


def chosen(runs: Sequence[Run], names: Sequence[str], flag: str) -> list[Metric]:
    """Return the metrics of these names: SPLIT/METRIC, DATASET/METRIC of an evaluation, or METRIC of all splits.

    Args:
      runs: the runs.
      names: what was asked for.
      flag: the flag that asked, for messages.

    Raises:
      UsageError: no run has such a metric.
    """
    known = metrics_of(runs)
    found: dict[Metric, None] = {}
    for name in names:
        matches = [metric for metric in known if name in (str(metric), metric.path, str(metric).partition("/")[2])]
        if not matches:
            raise UsageError(_unknown(name, known, flag))
        found.update(dict.fromkeys(matches))
    return list(found)


def _unknown(name: str, known: Sequence[Metric], flag: str) -> str:
    if not known:
        return f"{flag}={name}: expected the name of a metric, and the runs have none yet."
    paths = dict.fromkeys([*(metric.path for metric in known), *map(str, known)])
    suggestion = did_you_mean(name, paths)
    listed = ", ".join(list(paths)[:12]) + (" ..." if len(paths) > 12 else "")
    return f"{flag}={name}: expected the name of a metric, got one that no run has{suggestion or '.'} Known: {listed}."


def ordered(runs: Sequence[Run]) -> list[Run]:
    """Return the runs from the best down, if they agree on which metric and which side of it is best; else as given."""
    asked = {(run.best_metric, run.mode(run.best_metric)) for run in runs if run.best_metric}
    if len(asked) != 1:
        return list(runs)
    ((metric, mode),) = asked
    sign = -1 if mode == "max" else 1

    def rank(run: Run) -> float:
        best = run.best(metric)
        return math.inf if best is None else sign * best[1]

    return sorted(runs, key=rank)


def results(runs: Sequence[Run], metrics: Sequence[Metric]) -> Table:
    """Return how each run ended, and the final and the best value of these metrics."""
    columns = ["run", "ended", "step"]
    for metric in metrics:
        columns += [f"{metric}", *_BEST] if _is_judged(runs, metric) else [f"{metric}"]
    rows = [[run.name, run.ending.state, run.step, *_values(runs, run, metrics)] for run in runs]
    return Table("Results", columns, rows, glued=_BEST)


def _values(runs: Sequence[Run], run: Run, metrics: Sequence[Metric]) -> list[Cell]:
    cells: list[Cell] = []
    for metric in metrics:
        cells.append(final(run, metric))
        if _is_judged(runs, metric):
            step, value = run.best(metric) or (None, None)
            cells += [value, step]
    return cells


def _is_judged(runs: Sequence[Run], metric: Metric) -> bool:
    return any(run.mode(metric) for run in runs)


def final(run: Run, metric: Metric) -> float | None:
    """Return the last value of a metric."""
    points = run.metrics.get(metric)
    return points[-1][1] if points else None


def differing(runs: Sequence[Run]) -> dict[str, list[str | None]]:
    """Return the bindings that are not the same in all runs that have a config: name -> the value in each run.

    Of a trial that was refused, only the values that its study has chosen count.
    """
    names = sorted({name for run in runs for name in (*run.bindings, *run.choice)}, key=str.lower)
    values = {name: [run.bindings.get(name, run.choice.get(name)) for run in runs] for name in names}
    return {name: found for name, found in values.items() if len({*_known(runs, name, found)}) > 1}


def _known(runs: Sequence[Run], name: str, values: Sequence[str | None]) -> list[str | None]:
    return [value for run, value in zip(runs, values, strict=True) if run.bindings or name in run.choice]


def differences(runs: Sequence[Run]) -> Table:
    """Return what differs in the configs, turned so that the table is long and not wide."""
    found = differing(runs)
    title = "What differs in the configs"
    if len(found) > len(runs):
        return Table(title, ["binding", *(run.name for run in runs)], [[name, *found[name]] for name in found])
    rows = [[run.name, *(found[name][number] for name in found)] for number, run in enumerate(runs)]
    return Table(title, ["run", *found], rows)


def spent(run: Run) -> dict[str, Cell]:
    """Return where the time of a run went, in seconds unless its name says otherwise."""
    training, waiting, steps = _training(run)
    parts = {name: _sum(run, path) for name, path in _PARTS.items()}
    wall = run.ending.seconds
    known = training + sum(parts.values())
    return {
        "attempts": run.ending.attempts,
        "in all": wall,
        "training": training,
        **parts,
        "other": None if wall is None else max(0.0, wall - known),
        "share waiting for data": waiting / training if training else None,
        "ms/step": 1000 * training / steps if steps else None,
        "examples/s": _last(run, "throughput/examples_per_sec"),
    }


def time(runs: Sequence[Run]) -> Table:
    """Return where the time went, to a tenth of a second."""
    rows = [spent(run) for run in runs]
    return Table(
        "Where the time went (seconds)",
        ["run", *rows[0]],
        [[run.name, *map(_rounded, row.items())] for run, row in zip(runs, rows, strict=True)],
    )


def _rounded(item: tuple[str, Cell]) -> Cell:
    name, value = item
    if not isinstance(value, float):
        return value
    return f"{value:.0%}" if name.startswith("share") else value if "/" in name else round(value, 1)


def _training(run: Run) -> tuple[float, float, int]:
    """Return the seconds of the train steps, those of them spent waiting for data, and the number of steps."""
    waits = dict(run.times.get(Metric("train", "time/data_wait_fraction"), ()))
    seconds = waiting = 0.0
    before = 0
    for step, milliseconds in run.times.get(Metric("train", "time/step_ms"), ()):
        took = (step - before) * milliseconds / 1000
        seconds, waiting, before = seconds + took, waiting + took * waits.get(step, 0.0), step
    return seconds, waiting, before


def _points(run: Run, path: str) -> list[Points]:
    return [points for metric, points in run.times.items() if metric.path == path]


def _sum(run: Run, path: str) -> float:
    return sum(value for points in _points(run, path) for _, value in points if math.isfinite(value))


def _last(run: Run, path: str) -> float | None:
    return next((points[-1][1] for points in _points(run, path)), None)


def remarks(runs: Sequence[Run]) -> list[str]:
    """Return what a reader of the tables has to know: why runs ended early, and what cannot be read."""
    found = []
    for run in runs:
        if run.ending.reason:
            found.append(f"{run.name}: {run.ending.state}: {run.ending.reason}")
        if run.damaged:
            lines = "1 damaged line" if run.damaged == 1 else f"{run.damaged} damaged lines"
            found.append(f"{run.name}: {lines} of metrics.jsonl left out")
        if run.is_torn:
            found.append(f"{run.name}: the last line of metrics.jsonl is half-written and left out")
        if not run.metrics:
            found.append(f"{run.name}: no metrics yet")
    return found
