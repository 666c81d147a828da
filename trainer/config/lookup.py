"""Looks up the names in what was read, and takes bare words on the command line as strings where they can only be that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...metrics.errors import UsageError, did_you_mean
from . import annotations, engine, names
from .config import COMMAND_LINE, Binding
from .reading import Written
from .signatures import NO_DEFAULT, UNKNOWN, Parameter, no_such_parameter, signature
from .syntax import PYTHON_NAMES, Macro, Ref, Unparsed, replace

_QUOTES_OR_NAMES = ("@", "%", "'", '"')
_BRACKETS = ("[", "(", "{")


class Lookup:
    """Turns what was written into bindings, and collects problems and warnings."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._reported: set[tuple[str, str]] = set()

    def bindings(self, written: Iterable[Written]) -> list[Binding]:
        """Return the bindings in which all names are known; the others become problems."""
        found = []
        for item in written:
            try:
                found.append(self._binding(item, len(found)))
            except UsageError as error:
                self._report(item, str(error))
        return found

    def _report(self, item: Written, problem: str) -> None:
        """Record a problem once per source: all lines of a block share the problem of its name."""
        if (item.location.source, problem) not in self._reported:
            self._reported.add((item.location.source, problem))
            self.problems.append(f"{item.location}: {problem}")

    def _binding(self, item: Written, index: int) -> Binding:
        if not item.param:
            scope = f"{item.scope}/{item.selector}" if item.scope else item.selector
            selector, param, parameter = engine.MACRO, "value", Parameter("value")
        else:
            scope, selector, param = item.scope, names.resolve(item.selector), item.param
            parameter = self._parameter(item, selector)
        value = item.value
        if item.text is not None:
            value = _override_value(names.key(scope, selector, param), value, item.text, parameter)
        return Binding(scope, selector, param, replace(value, _resolved_leaf), item.location, index)

    def _parameter(self, item: Written, selector: str) -> Parameter:
        configurable = engine.configurables()[selector]
        takes = signature(configurable)
        if item.param in takes.parameters:
            return takes.get(item.param)
        if item.param not in takes or _is_denied(configurable, item.param):
            raise UsageError(no_such_parameter(configurable, item.param, takes))
        suggestion = did_you_mean(item.param, takes.parameters)
        if suggestion and item.param not in takes.undeclared:
            self.warnings.append(
                f'{item.location}: {names.short(selector)} has no parameter "{item.param}" and takes it in '
                f"**kwargs{suggestion}"
            )
        return takes.get(item.param)


def _is_denied(configurable: engine.Configurable, param: str) -> bool:
    is_allowed = not configurable.allowlist or param in configurable.allowlist
    return not is_allowed or param in (configurable.denylist or ())


def _resolved_leaf(leaf: Any) -> Any:
    """Give a reference its full selector; as in gin, `@name/macro()` is `%name`."""
    if not isinstance(leaf, Ref):
        return leaf
    selector = names.resolve(leaf.selector)
    if selector in (engine.MACRO, engine.CONSTANT) and leaf.evaluate:
        return Macro(leaf.scope)
    return Ref(leaf.scope, selector, leaf.evaluate)


def _override_value(key: str, value: Any, text: str, parameter: Parameter) -> Any:
    """Return the value that a `--gin_param` gives to a parameter.

    Args:
      key: the left-hand side, for messages.
      value: what gin parsed, or `Unparsed`.
      text: the whole right-hand side.
      parameter: the parameter; without annotation and default for a macro.

    Raises:
      UsageError: gin cannot parse the text, and the parameter does not take a string.
    """
    if isinstance(value, Unparsed):
        return _as_string(key, value, parameter)
    annotation = parameter.annotation
    is_number = isinstance(value, int | float | complex) and not isinstance(value, bool)
    if is_number and not annotations.fits(value, annotation) and annotations.fits(text, annotation):
        return text  # Input.name=7: the string "7"
    return value


def _as_string(key: str, value: Unparsed, parameter: Parameter) -> str:
    annotation, text = parameter.annotation, value.text
    _refuse_python_name(text, parameter)
    if annotation is UNKNOWN:
        _refuse_unlikely_string(key, value, parameter)
    elif not annotations.admits_word(text, annotation):
        problem = f"{key} = {text}: expected {annotations.describe(annotation)}{_meant_instead(text, annotation)}"
        raise UsageError(_sentences(problem, _shell_advice(text)))
    if text.startswith(_QUOTES_OR_NAMES):
        raise UsageError(_sentences(f"cannot read `{text}`: {value.reason}", _string_advice(text)))
    return text


def _refuse_python_name(text: str, parameter: Parameter) -> None:
    if text.lower() not in PYTHON_NAMES:
        return
    meaning = PYTHON_NAMES[text.lower()]
    is_default = parameter.default is not NO_DEFAULT and parameter.default is meaning
    if is_default or annotations.fits(meaning, parameter.annotation):  # a parameter without annotation takes anything
        problem = f"`{text}` is not a value: did you mean {meaning}?"
        raise UsageError(_sentences(problem, _string_advice(text)))


def _refuse_unlikely_string(key: str, value: Unparsed, parameter: Parameter) -> None:
    text, default = value.text, parameter.default
    if not text:
        raise UsageError(f"{key}: expected a value; write {key}=VALUE")
    if text.startswith(_BRACKETS):
        raise UsageError(_sentences(f"cannot read `{text}`: {value.reason}", _shell_advice(text)))
    if isinstance(default, bool | int | float):
        problem = f"{key} = {text}: expected {type(default).__name__}, as the default is {default!r}"
        raise UsageError(_sentences(problem, _string_advice(text)))


def _meant_instead(text: str, annotation: Any) -> str:
    choices = annotations.choices(annotation)
    choice = did_you_mean(text, choices) if text not in choices else ""
    if choice:
        return choice
    try:
        names.resolve(text.removesuffix("()"))
    except UsageError:
        is_word = text and not text.startswith(_BRACKETS)
        correction = annotations.correction(text, annotation) if is_word else None
        return f"; write {correction}" if correction else ""
    return f": did you mean @{text}?"


def _string_advice(text: str) -> str:
    return f"For the string write '\"{text}\"'"


def _shell_advice(text: str) -> str:
    if not text.startswith(_BRACKETS):
        return ""
    example = f"{COMMAND_LINE}=Name.x='[\"a\", 1]'"
    return f"The shell removes quotes: put the value in single quotes, as in {example}"


def _sentences(first: str, second: str) -> str:
    end = "" if not second or first.endswith((".", "?")) else "."
    return f"{first}{end} {second}".rstrip()
