"""What may stand to the right of `=`, and its text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

from gin import config_parser

from . import engine

WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Ref:
    """`@scope/selector` or, when `evaluate`, `@scope/selector()`."""

    scope: str
    selector: str
    evaluate: bool


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%name`: a macro or a constant."""

    name: str


@dataclasses.dataclass(frozen=True)
class Unparsed:
    """The right-hand side of a `--gin_param` that is no gin value: perhaps a string without its quotes."""

    text: str
    reason: str


class Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as written: what they mean is known once every import has run."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Ref:
        """Called by gin's parser for `@...`."""
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Ref(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Macro:
        """Called by gin's parser for `%...`."""
        return Macro(macro_name)


def leaves(value: Any) -> Iterator[Any]:
    """Yields the values inside nested lists, tuples and dicts (keys too)."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def replace(value: Any, change: Callable[[Any], Any]) -> Any:
    """Returns the same nested structure with `change` applied to each leaf."""
    if isinstance(value, dict):
        return {replace(key, change): replace(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace(item, change) for item in value)
    return change(value)


def from_gin(value: Any) -> Any:
    """Turns a value that gin holds into one of ours."""

    def change(leaf: Any) -> Any:
        return parse_value(repr(leaf)) if engine.is_reference(leaf) else leaf

    return replace(value, change)


def parse_value(text: str) -> Any:
    """Parses one gin value."""
    return config_parser.ConfigParser(text, Delegate()).parse_value()


def render(value: Any, name: Callable[[str], str] = str) -> str:
    """Returns the text that gin parses back to `value`; `name` gives the text of a full selector."""
    if isinstance(value, Ref):
        scope = f"{value.scope}/" if value.scope else ""
        return f"@{scope}{name(value.selector)}{'()' if value.evaluate else ''}"
    if isinstance(value, Macro):
        return f"%{value.name}"
    if isinstance(value, Unparsed):
        return value.text
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # `inf` is not a gin literal
    if isinstance(value, dict | list | tuple):
        return _render_container(value, name)
    return repr(value)


def _render_container(value: dict | list | tuple, name: Callable[[str], str]) -> str:
    if isinstance(value, dict):
        items = [f"{render(key, name)}: {render(item, name)}" for key, item in value.items()]
    else:
        items = [render(item, name) for item in value]
    first, last = {dict: "{}", list: "[]", tuple: "()"}[type(value)]
    comma = "," if isinstance(value, tuple) and len(items) == 1 else ""
    line = first + ", ".join(items) + comma + last
    if len(line) <= WIDTH and "\n" not in line:
        return line
    body = "".join("    " + item.replace("\n", "\n    ") + ",\n" for item in items)
    return f"{first}\n{body}{last}"
