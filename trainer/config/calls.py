"""What a call of a configurable lacks or does not take: checked before the call, and explained after it has failed."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator

from ...metrics.errors import UsageError
from . import engine, names
from .annotations import describe
from .config import COMMAND_LINE, Binding, Config
from .references import Reached, reach
from .signatures import UNKNOWN, Parameter, signature

# gin appends these lines to the message of every exception that passes a configurable, the innermost first.
_IN_CALL = re.compile(
    r"\n  In call to configurable '(?P<name>[^']*)' \((?P<what>.*?)\)(?: in scope '(?P<scope>[^']*)')?$", re.M
)
_NO_VALUES = re.compile(
    r"\n  No values supplied by Gin or caller for arguments: (?P<missing>\[.*?\])"
    r"\n  Gin had values bound for: .*\n  Caller supplied values for: .*"
)
_REQUIRED = re.compile(r"Required bindings for `(?P<name>.+?)` not provided in config: (?P<missing>\[.*?\])")
_MISSING = re.compile(
    r"(?P<function>\S+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: (?P<missing>.*)"
)
_UNEXPECTED = (
    re.compile(r"got an unexpected keyword argument '(?P<param>\w+)'"),
    re.compile(r"Argument\(s\) not recognized: (?P<params>\{.*\})"),  # a Keras optimizer
    re.compile(r"Unrecognized keyword arguments passed to \w+: (?P<params>\{.*\})"),  # a Keras layer
)


def check_required(config: Config, name: str) -> None:
    """Check that a call of a configurable, and all calls that its bindings make, have the required parameters.

    Args:
      config: the loaded config.
      name: the configurable that is going to be called, such as `Trainer`.

    Raises:
      UsageError: it lists each parameter that has no default and is not bound.
    """
    selector = names.resolve(name)
    found = list(_unbound(config, Reached("", selector, True), None))
    start = config.bindings_for("", selector).values()
    reached = reach(start, "", lambda scope, full: config.bindings_for(scope, full).values())
    for target, via in reached.items():
        if target.evaluated and target.selector != engine.MACRO:
            found += _unbound(config, target, via)
    if found:
        raise UsageError("\n".join(dict.fromkeys(found)))


def _unbound(config: Config, target: Reached, via: Binding | None) -> Iterator[str]:
    bound = config.bindings_for(target.scope, target.selector)
    for parameter in signature(engine.configurables()[target.selector]).parameters.values():
        if parameter.required and parameter.name not in bound:
            yield _required(target.scope, target.selector, parameter, via)


def _required(scope: str, selector: str, parameter: Parameter, via: Binding | None = None) -> str:
    name = names.key("", selector, parameter.name)
    kind = "" if parameter.annotation is UNKNOWN else f" ({describe(parameter.annotation)})"
    called = f" where `{via}` ({via.location}) calls {names.scoped(scope, selector)}" if via else ""
    value = _placeholder(parameter)
    return (
        f"{name} is required but not bound{called}: add `{name} = {value}`{kind} to a --gin_file, or "
        f"{COMMAND_LINE}='{name}={value}'"
    )


def _placeholder(parameter: Parameter) -> str:
    """Return `@...` if the annotation calls for an object, else `...`."""
    kind = typing.get_origin(parameter.annotation) or parameter.annotation
    is_literal = kind in (UNKNOWN, bool, int, float, str, list, tuple, dict, typing.Literal)
    return "..." if is_literal else "@..."


def explain_call_error(error: BaseException, config: Config) -> UsageError | None:
    """Return how the config made a call fail, or None if the failure has another cause.

    Args:
      error: what the call of a configurable raised.
      config: the loaded config.
    """
    text = str(error)
    if isinstance(error, UsageError):
        return UsageError(without_gin_notes(text))
    missing = _missing(text, error)
    if missing:
        return UsageError("\n".join(missing))
    binding = _refused_binding(text, error, config)
    if binding is None:
        return _refused_values(text, error, config)
    takes = ", ".join(signature(engine.configurables()[binding.selector]).parameters)
    return UsageError(
        f"{binding.location}: {names.short(binding.selector)} does not take `{binding.param}` "
        f"({without_gin_notes(text)}). It takes: {takes}"
    )


def _refused_values(text: str, error: BaseException, config: Config) -> UsageError | None:
    """Return the error if a class of Keras does not take what is bound for it; which value that is, only its message tells."""
    call = _IN_CALL.search(text)
    selector = _selector(call) if call else None
    if (
        not call
        or not selector
        or not selector.startswith(names.KERAS)
        or not isinstance(error, TypeError | ValueError)
    ):
        return None
    bound = config.bindings_for(call["scope"] or "", selector).values()
    if not bound:
        return None
    lines = [f"{each.location}: {each.name} = {each.value!r}" for each in bound]
    which = "this" if len(lines) == 1 else "one of these"
    return UsageError("\n".join([*lines, f"{names.short(selector)} does not take {which}: {without_gin_notes(text)}"]))


def without_gin_notes(text: str) -> str:
    """Return an exception's message without what gin has appended."""
    return _IN_CALL.sub("", _NO_VALUES.sub("", text)).rstrip()


def _missing(text: str, error: BaseException) -> list[str]:
    """Return a message per argument that the call lacked, if that is why it failed."""
    required = _REQUIRED.search(text)
    if required and isinstance(error, RuntimeError):
        return _required_messages("", names.resolve(required["name"]), ast.literal_eval(required["missing"]))
    call = _IN_CALL.search(text)
    if call is None or not isinstance(error, TypeError):
        return []
    selector, scope = _selector(call), call["scope"] or ""
    by_gin, by_python = _NO_VALUES.search(text), _MISSING.search(text)
    if selector and by_python and _is_about(by_python["function"], selector):
        return _required_messages(scope, selector, re.findall(r"'(\w+)'", by_python["missing"].split("\n")[0]))
    if selector and by_gin:
        return _required_messages(scope, selector, ast.literal_eval(by_gin["missing"]))
    return []


def _required_messages(scope: str, selector: str, params: list[str]) -> list[str]:
    takes = signature(engine.configurables()[selector])
    return [_required(scope, selector, takes.get(param)) for param in params]


def _selector(call: re.Match[str]) -> str | None:
    for selector, configurable in engine.configurables().items():
        if configurable.name == call["name"] and str(configurable.wrapped) == call["what"]:
            return selector
    return None


def _is_about(function: str, selector: str) -> bool:
    """Return whether Python's message is about the configurable itself, not about a function that it calls."""
    wrapped = engine.configurables()[selector].wrapped
    return function in (
        wrapped.__qualname__,
        f"{wrapped.__qualname__}.__init__",
        f"{wrapped.__qualname__}.__new__",
    )


def _refused_binding(text: str, error: BaseException, config: Config) -> Binding | None:
    """Return the binding whose parameter the configurable refused, if that is why the call failed."""
    call = _IN_CALL.search(text)
    if call is None or not isinstance(error, TypeError | ValueError):
        return None
    bound = config.bindings_for(call["scope"] or "", _selector(call) or "")
    for pattern in _UNEXPECTED:
        found = pattern.search(text)
        if found:
            params = re.findall(r"\w+", found.group(1))
            return next((bound[param] for param in params if param in bound), None)
    return None
