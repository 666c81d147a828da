"""The best value so far of each metric of an evaluation, for tables that show last values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from .better import Mode, best, better_mode
from .summary import Summary, scalars


class BestSoFar:
    """Follows the evaluations of a run, and reads those before its start from its metrics.jsonl.

    Args:
      metrics: the file; it has to have each summary before `update` is given it.
      sides: metric, or DATASET/METRIC -> which side of it is better; of others, their name may tell.
    """

    def __init__(self, metrics: Path, sides: Mapping[str, Mode]):
        self._metrics = metrics
        self._sides = sides
        self._best: dict[str, dict[str, float]] = {}  # split -> metric -> value
        self._last: dict[str, int] = {}  # split -> step

    def forget(self) -> None:
        """Read the file again at the next summary: lines have been dropped."""
        self._best, self._last = {}, {}

    def update(self, summary: Summary) -> dict[str, float]:
        """Return metric -> its best value up to this evaluation; empty for a summary of training."""
        split, step = summary.split, summary.step
        if split.partition("/")[0] != "eval":
            return {}
        if step <= self._last.get(split, step):  # also where nothing is known yet
            self._best[split] = {}
            for metrics in _before(self._metrics, split, step):
                self._take(split, metrics)
        self._last[split] = step
        self._take(split, scalars(summary))
        return dict(self._best[split])

    def _take(self, split: str, values: Mapping[str, float]) -> None:
        known = self._best[split]
        for path, value in values.items():
            mode = self._side(split, path)
            if mode is not None and math.isfinite(value):
                known[path] = best([value, known.get(path, value)], mode)

    def _side(self, split: str, path: str) -> Mode | None:
        dataset = split.partition("/")[2]
        for name, mode in self._sides.items():
            named, _, rest = name.partition("/")
            if name == path or (rest == path and dataset in ("", named)):
                return mode
        return better_mode(path)


def _before(path: Path, split: str, step: int) -> Iterator[dict[str, float]]:
    """Yield the numbers of the evaluations of a split before a step."""
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found = json.loads(line)
            if found["split"] == split and found["step"] < step:
                yield {name: float(value) for name, value in found["metrics"].items() if not isinstance(value, list)}
        except (ValueError, KeyError, TypeError):  # torn, or not ours
            continue
