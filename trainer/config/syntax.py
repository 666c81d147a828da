"""Reads the text of a config, statement by statement, and says what is wrong with it."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

from gin import config_parser

from ...metrics.errors import UsageError
from .values import Delegate

Statement = (
    config_parser.BindingStatement
    | config_parser.ImportStatement
    | config_parser.IncludeStatement
    | config_parser.BlockDeclaration
)

# A repeated dict key needs no entry here: gin reads dicts as Python does.
PARSE_ERRORS = (SyntaxError, tokenize.TokenError, TypeError)

_NEVER_CLOSED = "a bracket or a quote is opened and never closed"
PYTHON_NAMES = {"true": "True", "false": "False", "none": "None"}


def statements(text: str, source: str) -> Iterator[Statement]:
    """Yields the statements of a config text.

    Raises:
        UsageError: at the first syntax error: `source:line:column`, the reason, and the line.
    """
    lines = io.StringIO(text)
    parser = None
    try:
        parser = config_parser.ConfigParser(lines, Delegate())
        yield from parser
    except PARSE_ERRORS as error:
        raise UsageError(_message(error, parser, text, source)) from None


def reason(error: Exception) -> str:
    """Returns what is wrong, in the words of a config's author."""
    if isinstance(error, TypeError):
        return f"not a value: {error}"  # an unhashable dict key
    if isinstance(error, tokenize.TokenError):
        return _NEVER_CLOSED
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    if text == "Unable to parse value." and _at(error) in ("'", '"'):
        return _NEVER_CLOSED
    token = re.search(r"Failed to parse token '(.*)'", text or "", re.DOTALL)
    return _bad_token(token[1]) if token else str(text)


def _at(error: SyntaxError) -> str:
    """Returns the character at which gin stopped; its offset counts from 0."""
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
    place = f"{source}:{line}" + (f":{column}" if column else "")
    pointer = f"\n    {' ' * (column - 1)}^" if column else ""
    return f"{place}: {reason(error)}\n    {shown}{pointer}"


def _position(error: Exception, parser: config_parser.ConfigParser | None) -> tuple[int, int | None]:
    """Returns the line and the column, both from 1; gin counts columns from 0.

    What Python's tokenizer finds has no column: each version of Python puts it elsewhere.
    """
    from_tokenizer = isinstance(error, IndentationError) or reason(error) == _NEVER_CLOSED
    if isinstance(error, SyntaxError) and from_tokenizer:
        return error.lineno or 1, None
    if isinstance(error, SyntaxError):
        column = error.offset
        if column is not None and "Malformatted" not in (error.msg or ""):
            column += 1
        return error.lineno or 1, column
    return (parser.current_token.start[0] if parser else 1), None
