"""Ranges in a config, from which a study chooses: `%search.loguniform(1e-4, 1e-1)`.

Gin has no syntax for them: `take_out` puts a macro in the place of each before gin reads the text.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn, get_args

from ...metrics.errors import did_you_mean

Kind = Literal["uniform", "loguniform", "int", "choice"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_FORMS: dict[str, str] = {
    "uniform": "%search.uniform(LOW, HIGH) with numbers, LOW below HIGH",
    "loguniform": "%search.loguniform(LOW, HIGH) with numbers, 0 below LOW and LOW below HIGH",
    "int": "%search.int(LOW, HIGH) or %search.int(LOW, HIGH, STEP) with whole numbers, LOW below HIGH",
    "choice": "%search.choice(A, B, ...) with at least two different values",
}
_PREFIX = "%search."
_TOKEN = re.compile(  # a string, a comment, the start of a range, a bracket
    r"""'''.*?''' | \"\"\".*?\"\"\" | '(?:\\.|[^'\\\n])*' | "(?:\\.|[^"\\\n])*"
    | \#[^\n]* | %search\.(?P<kind>\w+)(?P<call>[ ]*\()? | [()\[\]{}]""",
    re.DOTALL | re.VERBOSE,
)


@dataclasses.dataclass(frozen=True)
class Range:
    """The values that a study chooses from.

    Attributes:
      kind: how it chooses.
      arguments: what stands in the brackets, as gin reads it.
      text: the whole, as written.
    """

    kind: Kind
    arguments: tuple[Any, ...]
    text: str


class BadRangeError(ValueError):
    """A range is not one. `offset` says where it stands in its text."""

    def __init__(self, message: str, offset: int):
        super().__init__(message)
        self.offset: int = offset


class _Found(NamedTuple):
    kind: str
    start: int
    end: int


def take_out(text: str, parse: Callable[[str], Any]) -> tuple[str, dict[str, Range]]:
    """Return a text with a macro in the place of each range, and the ranges by the names of these macros.

    The lines keep their numbers.

    Args:
      text: of a config, or the right-hand side of a binding.
      parse: returns the value of a text without ranges.

    Raises:
      BadRangeError: a range is not one.
    """
    if _PREFIX not in text:
        return text, {}
    parts, ranges, end = [], {}, 0
    for found in _find(text):
        name, written = f"tallyloop_range_{len(ranges)}", text[found.start : found.end]
        ranges[name] = _range(found, written, parse)
        parts += [text[end : found.start], f"%{name}", "\n" * written.count("\n")]
        end = found.end
    return "".join([*parts, text[end:]]), ranges


def _find(text: str) -> list[_Found]:
    """Return the ranges that stand in no string and no comment."""
    found: list[_Found] = []
    open_range: re.Match[str] | None = None
    depth = 0
    for token in _TOKEN.finditer(text):
        if token["kind"] and open_range is None:
            if token["call"]:
                open_range, depth = token, 1
            elif token["kind"] in KINDS:
                _refuse(token.group(), token.start(), token["kind"])
        elif open_range is not None and (token["call"] or token.group() in "([{"):
            depth += 1
        elif open_range is not None and token.group() in ")]}":
            depth -= 1
            if not depth:
                found.append(_Found(open_range["kind"], open_range.start(), token.end()))
                open_range = None
    if open_range is not None:
        raise BadRangeError(f"{open_range.group()}...: expected a closing bracket", open_range.start())
    return found


def _range(found: _Found, written: str, parse: Callable[[str], Any]) -> Range:
    if found.kind not in KINDS:
        hint = did_you_mean(found.kind, KINDS) or "."
        expected = ", ".join(f"{_PREFIX}{kind}" for kind in KINDS)
        raise BadRangeError(f"{written}: expected a range of the kinds {expected}{hint}", found.start)
    inside = written[written.index("(") + 1 : -1]
    try:
        arguments = parse(f"[{inside}\n]")
    except (SyntaxError, TypeError, ValueError) as error:
        raise BadRangeError(f"{written}: expected a range of the form {_FORMS[found.kind]}", found.start) from error
    if not _is_valid(found.kind, arguments):
        _refuse(written, found.start, found.kind)
    return Range(found.kind, tuple(arguments), written)


def _refuse(written: str, offset: int, kind: str) -> NoReturn:
    raise BadRangeError(f"{written}: expected a range of the form {_FORMS[kind]}", offset)


def _is_valid(kind: Kind, arguments: tuple[Any, ...]) -> bool:
    if kind == "choice":
        return len(arguments) > 1 and all(each not in arguments[:number] for number, each in enumerate(arguments))
    types = int if kind == "int" else int | float
    if not all(isinstance(each, types) and not isinstance(each, bool) and math.isfinite(each) for each in arguments):
        return False
    if len(arguments) not in ((2, 3) if kind == "int" else (2,)) or arguments[0] >= arguments[1]:
        return False
    return arguments[0] > 0 if kind == "loguniform" else all(step > 0 for step in arguments[2:])
