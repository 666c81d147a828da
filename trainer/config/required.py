"""Parameters that must be bound before a configurable can be called."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from ...metrics.errors import UsageError
from . import engine, names
from .annotations import describe
from .places import COMMAND_LINE
from .reach import Reached, reach
from .signatures import UNKNOWN, Parameter, signature

if TYPE_CHECKING:
    from .config import Binding, Config


def check_required(config: Config, name: str, supplied: Collection[str] = ()) -> None:
    """Checks that a call of a configurable, and every call that its bindings ask for, has what it needs.

    Args:
        config: what `load` returned.
        name: what is going to be called, such as `Trainer` or `train/Input`.
        supplied: parameters that the caller gives.

    Raises:
        UsageError: it lists each parameter that has no default and that nothing binds.
    """
    missing = missing_required(config, name, supplied)
    if missing:
        raise UsageError("\n".join(missing))


def missing_required(config: Config, name: str, supplied: Collection[str] = ()) -> list[str]:
    """Returns a message for each parameter that `check_required` refuses."""
    scope, _, rest = name.rpartition("/")
    selector = names.resolve(rest)
    bound = config.bindings_for(scope, selector)
    found = list(_missing(config, Reached(scope, selector, True), None, supplied))
    start = [binding for param, binding in bound.items() if param not in supplied]
    reached = reach(start, scope, lambda s, n: config.bindings_for(s, n).values())
    for place, via in reached.items():
        if place.evaluated and place.selector != engine.MACRO:
            found += _missing(config, place, via, ())
    return list(dict.fromkeys(found))


def _missing(config: Config, place: Reached, via: Binding | None, supplied: Collection[str]) -> Iterator[str]:
    bound = config.bindings_for(place.scope, place.selector)
    for parameter in signature(engine.configurables()[place.selector]).parameters.values():
        if parameter.required and parameter.name not in bound and parameter.name not in supplied:
            yield message(place.scope, place.selector, parameter, via)


def message(scope: str, selector: str, parameter: Parameter, via: Binding | None = None) -> str:
    """Returns what to say about a required parameter that nothing binds."""
    name = names.key("", selector, parameter.name)
    wanted = parameter.annotation
    kind = "" if wanted is UNKNOWN else f" ({describe(wanted)})"
    called = f"; {names.scoped(scope, selector)} is called for `{via}`, {via.place}" if via else ""
    value = example(parameter)
    return (
        f"{name} is required and nothing binds it{called}: add `{name} = {value}`{kind} to a --gin_file, or "
        f"{COMMAND_LINE}='{name}={value}'"
    )


def example(parameter: Parameter) -> str:
    """Returns the form of a value: `@...` where the annotation asks for an object."""
    wanted = parameter.annotation
    kind = typing.get_origin(wanted) or wanted
    is_literal = kind in (UNKNOWN, bool, int, float, str, list, tuple, dict, typing.Literal)
    return "..." if is_literal else "@..."
