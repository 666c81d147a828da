"""Takes a bare word on the command line as a string where it can only be one."""

from __future__ import annotations

from typing import Any

from ...metrics.errors import UsageError
from . import annotations, names
from .near import did_you_mean
from .places import COMMAND_LINE
from .signatures import NOTHING, UNKNOWN, Parameter
from .syntax import PYTHON_NAMES
from .values import Unparsed

_QUOTES_OR_NAMES = ("@", "%", "'", '"')
_BRACKETS = ("[", "(", "{")
_MEANINGS = {"true": True, "false": False, "none": None}


def value_of(key: str, value: Any, text: str, parameter: Parameter) -> Any:
    """Returns what a `--gin_param` gives to a parameter.

    Args:
        key: the left-hand side, for messages.
        value: what gin parsed, or `Unparsed`.
        text: all that stands after the `=`.
        parameter: the parameter; without annotation and default for a macro.

    Raises:
        UsageError: gin cannot parse the text, and the parameter does not take a string.
    """
    wanted = parameter.annotation
    if isinstance(value, Unparsed):
        return _as_string(key, value, parameter)
    is_number = isinstance(value, int | float | complex) and not isinstance(value, bool)
    if is_number and not annotations.fits(value, wanted) and annotations.fits(text, wanted):
        return text  # Input.name=7: the string "7"
    return value


def _as_string(key: str, value: Unparsed, parameter: Parameter) -> str:
    wanted, text = parameter.annotation, value.text
    _refuse_python_name(text, parameter)
    if wanted is UNKNOWN:
        _refuse_unlikely_string(key, value, parameter)
    elif not annotations.admits_word(text, wanted):
        problem = f"{key} wants {annotations.describe(wanted)}, got `{text}`{_meant(text, wanted)}"
        raise UsageError(_sentences(problem, _shell_advice(text)))
    if text.startswith(_QUOTES_OR_NAMES):
        raise UsageError(_sentences(f"cannot read `{text}`: {value.reason}", _string_advice(text)))
    return text


def _refuse_python_name(text: str, parameter: Parameter) -> None:
    name = PYTHON_NAMES.get(text.lower())
    if name is None:
        return
    meaning = _MEANINGS[text.lower()]
    is_default = parameter.default is not NOTHING and parameter.default is meaning
    if is_default or annotations.fits(meaning, parameter.annotation):  # an unannotated parameter takes anything
        problem = f"`{text}` is not a value: did you mean {name}?"
        raise UsageError(_sentences(problem, _string_advice(text)))


def _refuse_unlikely_string(key: str, value: Unparsed, parameter: Parameter) -> None:
    text, default = value.text, parameter.default
    if not text or text.startswith(_BRACKETS):
        problem = f"cannot read `{text}`: {value.reason}" if text else f"no value; write {key}=VALUE"
        raise UsageError(_sentences(problem, _shell_advice(text)))
    if isinstance(default, bool | int | float):
        problem = f"cannot read `{text}`; by default {key} is {default!r} ({type(default).__name__})"
        raise UsageError(_sentences(problem, _string_advice(text)))


def _meant(text: str, wanted: Any) -> str:
    choice = did_you_mean(text, annotations.choices(wanted))
    if choice:
        return choice
    try:
        names.resolve(text.removesuffix("()"))
    except UsageError:
        is_word = text and not text.startswith(_BRACKETS)
        correction = annotations.correction(text, wanted) if is_word else None
        return f": write {correction}" if correction else ""
    return f": did you mean @{text}?"


def _string_advice(text: str) -> str:
    return f"For the string write '\"{text}\"'"


def _shell_advice(text: str) -> str:
    if not text.startswith(_BRACKETS):
        return ""
    example = f"{COMMAND_LINE}=Name.x='[\"a\", 1]'"
    return f"A shell takes quotes off: put single quotes around the value, as in {example}"


def _sentences(first: str, second: str) -> str:
    end = "" if not second or first.endswith((".", "?")) else "."
    return f"{first}{end} {second}".rstrip()
