"""What one run folder holds: its metrics, its config, and how much of them cannot be read."""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...metrics.writers.better import Mode, best, better_mode
from ...metrics.writers.run_files import CONFIG, METRICS, OPERATIVE_CONFIG
from .ending import Ending, ending
from .folders import TRIAL

Points = list[tuple[int, float]]
"""Step and value, in order of the steps."""

_TIMES = ("time/", "throughput/")
_MODULES = re.compile(r"(\w+\.)+(?=\w+\.\w+(\[|$))")  # the first two words of `keras.optimizers.Adam.learning_rate`
_BINDING = re.compile(r"(?:# )?([\w./]+) = (.*)")


class Metric(NamedTuple):
    """A metric of one split."""

    split: str
    path: str

    def __str__(self) -> str:
        return f"{self.split}/{self.path}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run folder, as read.

    Attributes:
      name: what the report calls it.
      folder: where it is.
      ending: how it ended.
      metrics: the metrics that are single numbers.
      times: likewise, of where the time went.
      bindings: the config as used; empty if the run has none.
      choice: of a run without a config, such as a trial that was refused: the values that its study has chosen.
      damaged: the lines of metrics.jsonl that cannot be read.
      is_torn: whether its last line is half-written, as while another process writes it, or after a kill.
    """

    name: str
    folder: Path
    ending: Ending
    metrics: Mapping[Metric, Points]
    times: Mapping[Metric, Points]
    bindings: Mapping[str, str]
    damaged: int
    is_torn: bool
    choice: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """The last step with a metric."""
        return max((points[-1][0] for points in (*self.metrics.values(), *self.times.values())), default=None)

    @property
    def best_metric(self) -> Metric | None:
        """The metric that the config calls the best one."""
        name = _text(self.bindings.get("Trainer.best_metric"))
        return named(self.metrics, name) if name else None

    def mode(self, metric: Metric) -> Mode | None:
        """Return which side of a metric is better: by the config if it says so, else by the name, if that tells."""
        bound = _text(self.bindings.get("Trainer.best_mode"))
        if metric == self.best_metric and bound in ("max", "min"):
            return "max" if bound == "max" else "min"
        return better_mode(metric.path)

    def best(self, metric: Metric) -> tuple[int, float] | None:
        """Return step and value where a metric was best first; None if that is not known."""
        mode = self.mode(metric)
        return best_point(self.metrics.get(metric, ()), mode) if mode else None


def best_point(points: Iterable[tuple[int, float]], mode: Mode) -> tuple[int, float] | None:
    """Return the first of the best finite points; None if none is finite."""
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return None
    value = best((value for _, value in finite), mode)
    return next(point for point in finite if point[1] == value)


def named(metrics: Iterable[Metric], name: str) -> Metric | None:
    """Return the eval metric that a config calls METRIC or DATASET/METRIC."""
    evals = {str(metric).partition("/")[2]: metric for metric in metrics if metric.split.startswith("eval")}
    # With one eval set, the split does not tell its name.
    return evals.get(name) or evals.get(name.partition("/")[2])


def short(binding: str) -> str:
    """Return the name of a binding without modules, as a config as used has it: `keras.optimizers.Adam.epsilon` loses two."""
    return _MODULES.sub("", binding)


def read(name: str, folder: Path) -> Run:
    """Return a run as its folder is now. What cannot be read is counted, never an error."""
    found: dict[tuple[str, str], Points] = {}
    *lines, torn = _bytes(folder / METRICS).removeprefix(codecs.BOM_UTF8).split(b"\n")
    damaged = 0
    for line in lines:
        try:
            _take(json.loads(line.decode()), found)
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError):
            damaged += 1
    for points in found.values():
        points.sort()  # an evaluation of an older checkpoint comes later
    every = {Metric(*name): points for name, points in found.items()}
    times = {name: points for name, points in every.items() if name.path.startswith(_TIMES)}
    metrics = {name: points for name, points in every.items() if name not in times}
    bindings = _bindings(folder)
    choice = {} if bindings else _choice(folder)
    return Run(name, folder, ending(folder), metrics, times, bindings, damaged, bool(torn), choice)


def _take(fields: Mapping[str, Any], found: dict[tuple[str, str], Points]) -> None:
    """Add the values of a line to those of the lines before, by split and path."""
    step, split = int(fields["step"]), str(fields["split"])
    values = [(path, float(value)) for path, value in fields["metrics"].items() if not isinstance(value, list)]
    for path, value in values:
        found.setdefault((split, path), []).append((step, value))


def _bindings(folder: Path) -> dict[str, str]:
    """Return the config as used or, of a run that ended before that was known, as given: name -> value."""
    for name in (OPERATIVE_CONFIG, CONFIG):
        if text := _bytes(folder / name).decode(errors="replace"):
            return dict(_written(text))
    return {}


def _choice(folder: Path) -> dict[str, str]:
    """Return the values of a trial, under the names that a config as used has for them."""
    try:
        values = json.loads(_bytes(folder / TRIAL))["values"]
        return {short(name): str(text) for name, text in values.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}


def _written(text: str) -> Iterator[tuple[str, str]]:
    """Yield the bindings of a text that `config.text` has written: a value goes on in lines that are indented or a bracket."""
    name, parts = "", []
    for line in [*text.splitlines(), "# end"]:
        if (started := _BINDING.fullmatch(line)) or line.startswith("#") or not line.strip():
            if name:
                yield name, " ".join(parts)
            name, parts = (started[1], [started[2]]) if started else ("", [])
        else:
            parts.append(line.strip())


def _text(value: str | None) -> str | None:
    return value.strip("'\"") if value else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
