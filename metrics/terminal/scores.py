"""The last and the best value of each metric, and the table that shows them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..writers.better import Mode, best, better_mode
from ..writers.summary import Summary, scalars
from .text import in_order, number, shortened

_GAP = "  "
_NARROWEST_NAME = 12  # columns
_WIDEST_NAME = 40


class Score(NamedTuple):
    """The values of a metric on a split, so far.

    Attributes:
      last: its last value.
      better: whether that is better than the value before it; None if it is equal, the first, or nobody knows.
      best: its best finite value; None if nobody knows which side is better.
      best_step: the step of that.
    """

    last: float
    better: bool | None = None
    best: float | None = None
    best_step: int = -1


class Cell(NamedTuple):
    """A piece of a line, and whether it is good news; None of what is neither."""

    text: str
    good: bool | None = None


Line = list[Cell]


class Scores:
    """Follows the summaries of a run.

    Args:
      sides: metric, or DATASET/METRIC -> which side of it is better; of others, their name may tell.
    """

    def __init__(self, sides: Mapping[str, Mode]):
        self._sides = sides
        self._scores: dict[str, dict[str, Score]] = {}  # split -> path -> score

    @property
    def splits(self) -> list[str]:
        """The splits, training first."""
        return sorted(self._scores, key=lambda split: (split != "train", split))

    def read(self, path: Path, step: int) -> None:
        """Take the summaries up to a step that an earlier start of the run has written to metrics.jsonl."""
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                found = json.loads(line)
                numbers: dict[str, float | np.ndarray] = {
                    name: float(value) for name, value in found["metrics"].items() if not isinstance(value, list)
                }
                if found["step"] <= step:
                    counted = {name: value for name, value in numbers.items() if name in found["counts"]}
                    self.take(Summary(found["step"], found["split"], counted, {}))
            except (ValueError, KeyError, TypeError):  # torn, or not ours
                continue

    def take(self, summary: Summary) -> None:
        """Take a summary."""
        known = self._scores.setdefault(summary.split, {})
        for path, value in scalars(summary).items():
            known[path] = self._after(known.get(path), value, self._side(summary.split, path), summary.step)

    def of(self, split: str) -> dict[str, Score]:
        """Return path -> score, in the order in which they are shown."""
        known = self._scores.get(split, {})
        return {path: known[path] for path in in_order(known)}

    def table(self, width: int, most: int) -> list[Line]:
        """Return the table as lines that fit: a heading, at most so many metrics, and how many are left out.

        Args:
          width: columns.
          most: rows.
        """
        if not self._scores:
            return []
        paths = in_order({path for known in self._scores.values() for path in known})
        shown = paths if len(paths) <= most else paths[: most - 1]
        blocks = [_block(split, self._scores[split], shown) for split in self.splits]
        longest = min(_WIDEST_NAME, max([*map(len, shown), len("metric")]))
        least = min(longest, _NARROWEST_NAME)
        while len(blocks) > 1 and least + sum(map(_width, blocks)) > width:
            blocks.pop()
        name = max(least, min(longest, width - sum(map(_width, blocks))))
        names = [Cell(shortened(each, name).ljust(name)) for each in ("metric", *shown)]
        lines = [[label, *itertools.chain(*rows)] for label, *rows in zip(names, *blocks, strict=True)]
        left = [f"{len(paths) - len(shown)} more metrics"] if len(shown) < len(paths) else []
        left += [f"{len(self.splits) - len(blocks)} more eval sets"] if len(blocks) < len(self.splits) else []
        return [*lines, *([[Cell(shortened(f"(+{' and '.join(left)} in TensorBoard)", width))]] if left else [])]

    def _after(self, before: Score | None, value: float, mode: Mode | None, step: int) -> Score:
        if mode is None:
            return Score(value)
        better = None
        if before is not None and value != before.last and math.isfinite(value):
            better = not math.isfinite(before.last) or best([value, before.last], mode) == value
        top, top_step = (None, -1) if before is None else (before.best, before.best_step)
        if math.isfinite(value) and (top is None or (value != top and best([value, top], mode) == value)):
            top, top_step = value, step
        return Score(value, better, top, top_step)

    def _side(self, split: str, path: str) -> Mode | None:
        dataset = split.partition("/")[2]
        return self._sides.get(f"{dataset}/{path}") or self._sides.get(path) or better_mode(path)


def _block(split: str, known: Mapping[str, Score], paths: list[str]) -> list[Line]:
    """Return the columns of a split, of one width each: the last value, whether it is better, and the best one."""
    scores = [known.get(path) for path in paths]
    lasts = [split, *("" if score is None else number(score.last) for score in scores)]
    bests = ["best", *("" if score is None or score.best is None else number(score.best) for score in scores)]
    arrows = [Cell(" "), *(_arrow(score) for score in scores)]
    last, top = max(map(len, lasts)), max(map(len, bests))
    return [
        [Cell(_GAP + a.rjust(last) + " "), arrow, Cell(" " + b.rjust(top))]
        for a, arrow, b in zip(lasts, arrows, bests, strict=True)
    ]


def _arrow(score: Score | None) -> Cell:
    better = None if score is None else score.better
    return Cell(" " if better is None else "▲" if better else "▼", better)


def _width(block: list[Line]) -> int:
    return sum(len(cell.text) for cell in block[0])
