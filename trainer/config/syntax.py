"""The syntax of a config: its values, its statements, and errors in them."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from gin import config_parser

from ...metrics.errors import UsageError
from .ranges import BadRangeError, Range, take_out

Statement: TypeAlias = (
    config_parser.BindingStatement
    | config_parser.ImportStatement
    | config_parser.IncludeStatement
    | config_parser.BlockDeclaration
)

# A repeated dict key needs no entry here: gin reads dicts as Python does.
PARSE_ERRORS = (SyntaxError, tokenize.TokenError, TypeError)
PYTHON_NAMES: dict[str, bool | None] = {"true": True, "false": False, "none": None}

_UNCLOSED = "unclosed bracket or quote"
_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Ref:
    """`@scope/selector` or, if `evaluate`, `@scope/selector()`."""

    scope: str
    selector: str
    evaluate: bool


@dataclasses.dataclass(frozen=True)
class Macro:
    """`%name`: a macro or a constant."""

    name: str


@dataclasses.dataclass(frozen=True)
class Unparsed:
    """The right-hand side of a `--gin_param` that is not a gin value: perhaps a string without its quotes."""

    text: str
    reason: str


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as written: their meaning is known only after all imports have run.

    Args:
      ranges: what stands in the place of some macros.
    """

    def __init__(self, ranges: Mapping[str, Range] | None = None):
        self._ranges = ranges or {}

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
        """Return a `Ref`; called by gin's parser for `@...`."""
        scope, _, selector = scoped_configurable_name.rpartition("/")
        return Ref(scope, selector, evaluate)

    def macro(self, macro_name: str) -> Any:
        """Return a `Macro`, or a `Range`; called by gin's parser for `%...`."""
        return self._ranges.get(macro_name) or Macro(macro_name)


def leaves(value: Any) -> Iterator[Any]:
    """Yield the values inside nested lists, tuples and dicts (keys too), and ranges before what they are made of."""
    if isinstance(value, Range):
        yield value
        value = value.arguments
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def replace(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return the same nested structure with `change` applied to each leaf, and to what ranges are made of."""
    if isinstance(value, Range):
        return dataclasses.replace(value, arguments=replace(value.arguments, change))
    if isinstance(value, dict):
        return {replace(key, change): replace(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace(item, change) for item in value)
    return change(value)


def parse_value(text: str) -> Any:
    """Parse one gin value.

    Raises:
      Exception: one of `PARSE_ERRORS`, if the text is not a value.
    """
    return config_parser.ConfigParser(text, _Delegate()).parse_value()


def parse_right_hand_side(text: str) -> Any:
    """Parse what follows the `=` of a `--gin_param`; return `Unparsed` if gin cannot.

    Raises:
      BadRangeError: a range in it is not one.
    """
    plain, ranges = take_out(text, parse_value)
    try:
        parser = config_parser.ConfigParser(f"value = {plain}\n", _Delegate(ranges))
        statement = parser.parse_statement()
        if isinstance(statement, config_parser.BindingStatement) and parser.parse_statement() is None:
            return statement.value
        return Unparsed(text, "more than one line")
    except PARSE_ERRORS as error:
        return Unparsed(text, reason(error))


def render(value: Any, name: Callable[[str], str] = str) -> str:
    """Return the text that gin parses to `value`.

    Args:
      value: what the parser returns: nested lists, tuples and dicts of literals, `Ref`, `Macro` and `Range`.
      name: gives the text of a full selector.
    """
    if isinstance(value, Ref):
        scope = f"{value.scope}/" if value.scope else ""
        return f"@{scope}{name(value.selector)}{'()' if value.evaluate else ''}"
    if isinstance(value, Macro):
        return f"%{value.name}"
    if isinstance(value, Unparsed | Range):
        return value.text
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # `inf` is not a gin literal
    if isinstance(value, dict | list | tuple):
        return _render_container(value, name)
    return repr(value)


def _render_container(value: dict[Any, Any] | list[Any] | tuple[Any, ...], name: Callable[[str], str]) -> str:
    if isinstance(value, dict):
        items = [f"{render(key, name)}: {render(item, name)}" for key, item in value.items()]
    else:
        items = [render(item, name) for item in value]
    first, last = {dict: "{}", list: "[]", tuple: "()"}[type(value)]
    comma = "," if isinstance(value, tuple) and len(items) == 1 else ""
    line = first + ", ".join(items) + comma + last
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    body = "".join("    " + item.replace("\n", "\n    ") + ",\n" for item in items)
    return f"{first}\n{body}{last}"


def statements(text: str, source: str) -> Iterator[Statement]:
    """Yield the statements of a config text.

    Args:
      text: the whole config.
      source: its name in messages.

    Raises:
      UsageError: at the first syntax error: `source:line:column`, the reason, and the line.
    """
    parser = None
    try:
        plain, ranges = take_out(text, parse_value)
        parser = config_parser.ConfigParser(io.StringIO(plain), _Delegate(ranges))
        yield from parser
    except BadRangeError as error:
        before = text[: error.offset].split("\n")
        shown = text.split("\n")[len(before) - 1].rstrip()
        raise UsageError(f"{source}:{len(before)}: {error}\n    {shown}") from None
    except PARSE_ERRORS as error:
        raise UsageError(_message(error, parser, text, source)) from None


def reason(error: Exception) -> str:
    """Return what is wrong, in terms that the author of a config knows."""
    if isinstance(error, TypeError):
        return f"not a value: {error}"  # an unhashable dict key
    if isinstance(error, tokenize.TokenError):
        return _UNCLOSED
    text = str(error)
    if isinstance(error, SyntaxError):
        text = error.msg
        if text == "Unable to parse value." and _character_at(error) in ("'", '"'):
            return _UNCLOSED
    token = re.search(r"Failed to parse token '(.*)'", text or "", re.DOTALL)
    return _bad_token(token[1]) if token else str(text)


def _character_at(error: SyntaxError) -> str:
    """Return the character at which gin stopped; its offset counts from 0."""
    return (error.text or "")[error.offset or 0 :][:1]


def _bad_token(token: str) -> str:
    if token.lower() in PYTHON_NAMES:
        return f"`{token}` is not a value: did you mean {PYTHON_NAMES[token.lower()]}?"
    if token.isidentifier():
        return (
            f"`{token}` is not a value: did you mean the string '{token}', the configurable @{token}, "
            f"or the macro %{token}?"
        )
    return f"cannot read `{token}`"


def _message(error: Exception, parser: config_parser.ConfigParser | None, text: str, source: str) -> str:
    line, column = _position(error, parser)
    all_lines = text.splitlines()
    shown = all_lines[line - 1].rstrip() if 0 < line <= len(all_lines) else ""
    location = f"{source}:{line}" + (f":{column}" if column else "")
    pointer = f"\n    {' ' * (column - 1)}^" if column else ""
    return f"{location}: {reason(error)}\n    {shown}{pointer}"


def _position(error: Exception, parser: config_parser.ConfigParser | None) -> tuple[int, int | None]:
    """Return the line and the column, both counted from 1; gin counts columns from 0.

    An error of Python's tokenizer gets no column: each version of Python puts it elsewhere.
    """
    from_tokenizer = isinstance(error, IndentationError) or reason(error) == _UNCLOSED
    if isinstance(error, SyntaxError) and from_tokenizer:
        return error.lineno or 1, None
    if isinstance(error, SyntaxError):
        column = error.offset
        if column is not None and "Malformatted" not in (error.msg or ""):
            column += 1
        return error.lineno or 1, column
    token = parser.current_token if parser else None
    return (token.start[0] if token else 1), None
