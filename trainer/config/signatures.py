"""What can be configured: the parameters of each configurable, and the list of all configurables."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import gin

from ...metrics.errors import did_you_mean
from . import engine, names

NO_DEFAULT = inspect.Parameter.empty
UNKNOWN = typing.Any

# Keras takes these in **kwargs and declares them nowhere.
_KERAS_UNDECLARED = (
    *("alpha", "batch_input_shape", "cache", "decay", "dynamic", "implementation", "input_dim"),
    *("input_length", "input_shape", "inputs", "outputs", "rms_scaling", "type_check", "vocabulary_size"),
)
_OWN = "tallyloop."
_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Unresolved:
    """An annotation with a name that only type checkers import: shown to the user, never checked."""

    text: str


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter that a config can bind."""

    name: str
    annotation: Any = UNKNOWN
    default: Any = NO_DEFAULT

    @property
    def required(self) -> bool:
        """True if a call fails unless the parameter is bound or passed."""
        return self.default is NO_DEFAULT or self.default is gin.REQUIRED


@dataclasses.dataclass(frozen=True)
class Signature:
    """The parameters of a configurable."""

    parameters: dict[str, Parameter]
    open: bool
    """Whether it takes others in **kwargs, with names that cannot be known."""
    undeclared: Collection[str] = ()
    """Others that it is known to take in **kwargs."""

    def __contains__(self, name: str) -> bool:
        return self.open or name in self.parameters or name in self.undeclared

    def get(self, name: str) -> Parameter:
        """Return a parameter. One that only **kwargs takes is not required and has no known type."""
        return self.parameters.get(name) or Parameter(name, default=None)


def signature(configurable: engine.Configurable) -> Signature:
    """Return what a config can bind for a configurable."""
    found: dict[str, Parameter] = {}
    is_open = False
    for depth, function in enumerate(_functions(configurable.wrapped)):
        parameters, is_open = _own_parameters(function, inspect.isclass(configurable.wrapped))
        for parameter in parameters:
            if depth and parameter.required:  # of a base class: the subclass's constructor may pass it
                parameter = dataclasses.replace(parameter, default=None)
            found.setdefault(parameter.name, parameter)
    allowed = {name: p for name, p in found.items() if _is_allowed(configurable, name)}
    if inspect.isclass(configurable.wrapped):
        is_open = _takes_kwargs(configurable.wrapped)  # it may use some itself, whatever its bases take
        if configurable.wrapped.__module__.startswith(names.KERAS):
            return Signature(allowed, open=False, undeclared=_KERAS_UNDECLARED if is_open else ())
    return Signature(allowed, is_open)


def _functions(target: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Yield the functions whose parameters count: for a class, the constructors up its bases while they take **kwargs."""
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
    """Return a function's named parameters, and whether it takes **kwargs."""
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
    if parameter.annotation is inspect.Parameter.empty:
        return UNKNOWN
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(alone, getattr(function, "__globals__", {}))[parameter.name]
    except Exception:  # an annotation is an arbitrary expression, and can fail in any way
        return Unresolved(inspect.formatannotation(parameter.annotation).strip("'"))


def _takes_kwargs(target: type) -> bool:
    """Return whether a class's own constructor takes **kwargs."""
    own = next(_functions(target), None)
    return own is not None and _own_parameters(own, True)[1]


def _is_allowed(configurable: engine.Configurable, name: str) -> bool:
    if configurable.allowlist:
        return name in configurable.allowlist
    return not configurable.denylist or name not in configurable.denylist


def no_such_parameter(configurable: engine.Configurable, param: str, takes: Signature) -> str:
    """Return the error message for a parameter that a config cannot bind."""
    name = names.short(configurable.selector)
    listed = f"Its parameters: {', '.join(takes.parameters) or 'none'}"
    if param in signature(configurable._replace(allowlist=None, denylist=None)).parameters:
        return f"{name}.{param} cannot be bound in a config: it is passed in code. {listed}"
    if callable(getattr(configurable.wrapped, param, None)):
        return (
            f"{name}.{param} is a method, not a parameter: a config cannot call it; make the object in a function of yours. "
            f"{listed}"
        )
    return f'{name} has no parameter "{param}"{did_you_mean(param, takes.parameters) or "."} {listed}'


def default_text(default: Any) -> str:
    """Return a default in readable form: a function or class by its name."""
    return getattr(default, "__qualname__", None) or repr(default)


def list_configurables() -> str:
    """Return what `--list_configurables` prints.

    Tallyloop's and the user's configurables come with parameters, defaults and the first line of the docstring; Keras's
    only by name, grouped by module.
    """
    own, users, keras = [], [], {}
    for selector, configurable in sorted(engine.configurables().items(), key=lambda item: names.short(item[0])):
        if selector.startswith("gin."):
            continue
        if selector.startswith(names.KERAS):
            keras.setdefault(selector.rpartition(".")[0], []).append(selector.rpartition(".")[2])
        else:
            is_own = (getattr(configurable.wrapped, "__module__", None) or "").startswith(_OWN)
            (own if is_own else users).append(configurable)
    parts = [_described("Tallyloop", own), _described("Yours", users), _compact(keras)]
    return "\n".join(part for part in parts if part)


def _described(title: str, configurables: Sequence[engine.Configurable]) -> str:
    return f"{title}\n" + "".join(map(_entry, configurables)) if configurables else ""


def _entry(configurable: engine.Configurable) -> str:
    takes = signature(configurable)
    parameters = [*map(_with_default, takes.parameters.values()), *(["**kwargs"] if takes.open else [])]
    head = f"{names.short(configurable.selector)}({', '.join(parameters)})"
    lines = textwrap.wrap(head, _WIDTH, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False)
    summary = (inspect.getdoc(configurable.wrapped) or "").partition("\n")[0]
    return "".join(f"{line}\n" for line in [*lines, *([f"    {summary}"] if summary else [])])


def _with_default(parameter: Parameter) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={default_text(parameter.default)}"


def _compact(by_module: dict[str, Iterable[str]]) -> str:
    lines = []
    for module, classes in sorted(by_module.items()):
        listed = ", ".join(sorted(classes))
        lines += [module, *textwrap.wrap(listed, _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    return "".join(f"{line}\n" for line in lines)
