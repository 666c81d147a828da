"""What parameters a configurable takes."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator
from typing import Any

import gin

from . import engine

NOTHING = inspect.Parameter.empty
UNKNOWN = typing.Any

# Keras takes these in **kwargs and declares them nowhere.
_KERAS_UNDECLARED = (
    *("alpha", "batch_input_shape", "cache", "decay", "dynamic", "implementation", "input_dim"),
    *("input_length", "input_shape", "inputs", "outputs", "rms_scaling", "type_check", "vocabulary_size"),
)


@dataclasses.dataclass(frozen=True)
class Unresolved:
    """An annotation that names what only a type checker imports: it is shown, and checks nothing."""

    text: str


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter that a config may bind."""

    name: str
    annotation: Any = UNKNOWN
    default: Any = NOTHING

    @property
    def required(self) -> bool:
        """Whether a call fails unless it is bound or given."""
        return self.default is NOTHING or self.default is gin.REQUIRED


@dataclasses.dataclass(frozen=True)
class Signature:
    """The parameters of a configurable."""

    parameters: dict[str, Parameter]
    open: bool
    """Whether it takes others too, in **kwargs, whose names nothing tells."""
    undeclared: Collection[str] = ()
    """Others that it is known to take in **kwargs."""

    def __contains__(self, name: str) -> bool:
        return self.open or name in self.parameters or name in self.undeclared

    def get(self, name: str) -> Parameter:
        """Returns a parameter; one that only **kwargs takes is not required and has no known type."""
        return self.parameters.get(name) or Parameter(name, default=None)


def signature(configurable: engine.Configurable) -> Signature:
    """Returns what may be bound for a configurable."""
    found: dict[str, Parameter] = {}
    is_open = False
    for depth, function in enumerate(_functions(configurable.wrapped)):
        parameters, is_open = _own_parameters(function, inspect.isclass(configurable.wrapped))
        for parameter in parameters:
            if depth and parameter.required:  # a base class's: the constructor in front may well supply it
                parameter = dataclasses.replace(parameter, default=None)
            found.setdefault(parameter.name, parameter)
    allowed = {name: p for name, p in found.items() if _allowed(configurable, name)}
    if inspect.isclass(configurable.wrapped):
        is_open = _takes_kwargs(configurable.wrapped)  # it may use some itself, whatever its bases take
        if configurable.wrapped.__module__.startswith("keras."):
            return Signature(allowed, open=False, undeclared=_KERAS_UNDECLARED if is_open else ())
    return Signature(allowed, is_open)


def _functions(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yields the functions whose parameters count: of a class, constructors while they take **kwargs."""
    if not inspect.isclass(target):
        yield inspect.unwrap(target)
        return
    for base in target.__mro__:
        function = base.__dict__.get("__init__") or base.__dict__.get("__new__")
        if function is None or base is object:
            continue
        function = inspect.unwrap(getattr(function, "__func__", function))
        yield function
        if not _own_parameters(function, True)[1]:
            return


def _own_parameters(function: Callable[..., Any], is_method: bool) -> tuple[list[Parameter], bool]:
    try:
        raw = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a built-in without a signature
        return [], True
    if is_method:
        raw = raw[1:]
    keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [Parameter(p.name, _annotation(p, function), p.default) for p in raw if p.kind in keyword]
    return named, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in raw)


def _annotation(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    if parameter.annotation is NOTHING:
        return UNKNOWN
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}))[parameter.name]
    except Exception:  # an annotation is any expression, and may fail in any way
        return Unresolved(inspect.formatannotation(parameter.annotation).strip("'"))


def _takes_kwargs(target: type) -> bool:
    """Tells whether a class's own constructor takes **kwargs."""
    own = next(_functions(target), None)
    return own is not None and _own_parameters(own, True)[1]


def _allowed(configurable: engine.Configurable, name: str) -> bool:
    if configurable.allowlist:
        return name in configurable.allowlist
    return not configurable.denylist or name not in configurable.denylist
