"""What a study varies, and by which metric it judges: read from the config without looking names up, which needs TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ...metrics.errors import UsageError
from ...metrics.writers.better import MODES, Mode
from ..config.ranges import Range
from ..config.reading import Reader, Written, read_param
from ..config.syntax import Macro, Unparsed, leaves, render

_EXAMPLE = "keras.optimizers.Adam.learning_rate = %search.loguniform(1e-4, 1e-1)"


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A range, with a name for it: that of its binding, with a number if there are several."""

    name: str
    range: Range


@dataclasses.dataclass(frozen=True)
class Space:
    """The bindings that a study varies.

    Attributes:
      metric: the eval metric that judges, as `Trainer.best_metric` names it.
      mode: which side of it is better.
      parameters: the ranges.
      templates: the bindings with ranges in their values.
    """

    metric: str
    mode: Mode
    parameters: tuple[Parameter, ...]
    templates: tuple[Written, ...]

    def bindings(self, values: Mapping[str, str]) -> list[str]:
        """Return the `--gin_param`s of a choice: parameter -> text of its value; anything else is a binding itself."""
        found = [f"{_key(item)}={render(_filled(item, values))}" for item in self.templates]
        ours = {parameter.name for parameter in self.parameters}
        return found + [f"{name}={text}" for name, text in values.items() if name not in ours]


def read(gin_files: Sequence[str], gin_params: Sequence[str], search_paths: Sequence[str]) -> Space:
    """Return what a config lets vary.

    Raises:
      UsageError: the config cannot be read, or it does not say which metric judges.
    """
    reader = Reader(search_paths, runs_imports=False)
    for name in gin_files:
        reader.file(name)
    winning = _winning([*reader.written, *map(read_param, gin_params)])
    templates = tuple(item for item in winning if _ranges(item.value))
    parameters = tuple(parameter for item in templates for parameter in _parameters(item))
    metric, mode = _trainer(winning, "best_metric"), _trainer(winning, "best_mode")
    if not isinstance(metric, str) or mode not in MODES:
        raise UsageError(
            f"--study needs to know which eval metric judges: expected Trainer.best_metric and Trainer.best_mode to be bound, as "
            f"in Trainer.best_metric = 'accuracy' and Trainer.best_mode = 'max', got {metric!r} and {mode!r}."
        )
    return Space(metric, mode, parameters, templates)


def check_ranges(space: Space, is_grid: bool) -> None:
    """Check that there is something to search and, with a grid, nothing else.

    Raises:
      UsageError: there isn't, or there is.
    """
    if is_grid and space.parameters:
        first = space.parameters[0]
        raise UsageError(
            f"--grid: expected a config without ranges, got {first.name} = {first.range.text} "
            f"({space.templates[0].location}): put its values into --grid, or leave --grid out and give --trials=N."
        )
    if not is_grid and not space.parameters:
        raise UsageError(
            f"--study: expected a range in the config, such as {_EXAMPLE}, or --grid=NAME=VALUE,VALUE, got neither."
        )


def _winning(written: Sequence[Written]) -> list[Written]:
    found: list[Written] = []
    for item in written:
        found = [*(other for other in found if not _is_same(other, item)), item]
    return found


def _is_same(one: Written, other: Written) -> bool:
    """Return whether two bindings are of the same parameter: one may name its configurable by a part of its full name."""
    if (one.scope, one.param) != (other.scope, other.param):
        return False
    short, long = sorted((one.selector, other.selector), key=len)
    return short == long or (bool(one.param) and long.endswith(f".{short}"))


def _key(item: Written) -> str:
    scope = f"{item.scope}/" if item.scope else ""
    return f"{scope}{item.selector}{item.param and '.' + item.param}"


def _ranges(value: Any) -> list[Range]:
    return [leaf for leaf in leaves(value) if isinstance(leaf, Range)]


def _parameters(item: Written) -> list[Parameter]:
    ranges = _ranges(item.value)
    if len(ranges) == 1:
        return [Parameter(_key(item), ranges[0])]
    return [Parameter(f"{_key(item)}[{number}]", each) for number, each in enumerate(ranges)]


def _filled(item: Written, values: Mapping[str, str]) -> Any:
    """Return a value with texts in the place of its ranges."""
    names = iter([parameter.name for parameter in _parameters(item)])

    def fill(value: Any) -> Any:
        if isinstance(value, Range):
            return Unparsed(values[next(names)], "")
        if isinstance(value, dict):  # keys first, as `leaves` yields them
            keys = [fill(key) for key in value]
            return dict(zip(keys, [fill(each) for each in value.values()], strict=True))
        if isinstance(value, list | tuple):
            return type(value)(fill(each) for each in value)
        return value

    return fill(item.value)


def _trainer(winning: Sequence[Written], param: str) -> Any:
    """Return what is bound to a parameter of the Trainer, if its value can be told without looking names up."""
    bound = [item for item in winning if item.param == param and item.selector.split(".")[-1] == "Trainer"]
    value = bound[-1].value if bound else None
    macros = {_key(item): item.value for item in winning if not item.param}
    while isinstance(value, Macro):
        value = macros.pop(value.name, None)
    return value.text if isinstance(value, Unparsed) else value
