"""Says in a user's words what gin and Keras say when a configured call fails."""

from __future__ import annotations

import ast
import re

from ...metrics.errors import UsageError
from . import engine, names
from .config import Binding, Config
from .loading import latest
from .required import message
from .signatures import signature

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


def explain_call_error(error: BaseException, config: Config | None = None) -> UsageError | None:
    """Returns what a config did to make a call fail, or None when the failure has another cause.

    Args:
        error: what calling a configurable raised.
        config: the config in force; by default the one loaded last.
    """
    text = str(error)
    if isinstance(error, UsageError):
        return UsageError(without_gin_notes(text))
    missing = _missing(text, error)
    if missing:
        return UsageError("\n".join(missing))
    binding = _refused_binding(text, error, config or latest())
    if binding is None:
        return None
    configurable = engine.configurables()[binding.selector]
    takes = ", ".join(signature(configurable).parameters)
    return UsageError(
        f"{binding.place}: {names.short(binding.selector)} does not take `{binding.param}` "
        f"({without_gin_notes(text)}). It takes: {takes}"
    )


def without_gin_notes(text: str) -> str:
    """Returns an exception's message as its author wrote it, without what gin appended."""
    return _IN_CALL.sub("", _NO_VALUES.sub("", text)).rstrip()


def _missing(text: str, error: BaseException) -> list[str]:
    required = _REQUIRED.search(text)
    if required and isinstance(error, RuntimeError):
        return _messages("", names.resolve(required["name"]), ast.literal_eval(required["missing"]))
    call = _IN_CALL.search(text)
    if call is None or not isinstance(error, TypeError):
        return []
    selector, scope = _selector(call), call["scope"] or ""
    by_gin, by_python = _NO_VALUES.search(text), _MISSING.search(text)
    if selector and by_python and _is_about(by_python["function"], selector):
        return _messages(scope, selector, re.findall(r"'(\w+)'", by_python["missing"].split("\n")[0]))
    if selector and by_gin:
        return _messages(scope, selector, ast.literal_eval(by_gin["missing"]))
    return []


def _messages(scope: str, selector: str, params: list[str]) -> list[str]:
    takes = signature(engine.configurables()[selector])
    return [message(scope, selector, takes.get(param)) for param in params]


def _selector(call: re.Match[str]) -> str | None:
    for selector, configurable in engine.configurables().items():
        if configurable.name == call["name"] and str(configurable.wrapped) == call["what"]:
            return selector
    return None


def _is_about(function: str, selector: str) -> bool:
    """Tells whether Python's message is about the configurable itself, not about a function that it calls."""
    wrapped = engine.configurables()[selector].wrapped
    return function in (
        wrapped.__qualname__,
        f"{wrapped.__qualname__}.__init__",
        f"{wrapped.__qualname__}.__new__",
    )


def _refused_binding(text: str, error: BaseException, config: Config | None) -> Binding | None:
    call = _IN_CALL.search(text)
    if call is None or config is None or not isinstance(error, TypeError | ValueError):
        return None
    bound = config.bindings_for(call["scope"] or "", _selector(call) or "")
    for pattern in _UNEXPECTED:
        found = pattern.search(text)
        if found:
            params = re.findall(r"\w+", found.group(1))
            return next((bound[param] for param in params if param in bound), None)
    return None
