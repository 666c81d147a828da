"""Follows references from binding to binding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from . import engine
from .values import Macro, Ref, leaves

if TYPE_CHECKING:
    from .config import Binding


class Reached(NamedTuple):
    """A configurable that a reference leads to."""

    scope: str
    """The scope of its call. A reference without a scope keeps that of the call it is made for."""
    selector: str
    evaluated: bool
    """Whether the reference calls it (`@x()`), so that the config alone supplies its parameters."""


def reach(
    start: Iterable[Binding], scope: str, bindings_for: Callable[[str, str], Iterable[Binding]]
) -> dict[Reached, Binding]:
    """Returns what is reached from some bindings, each with the binding whose value refers to it.

    Args:
        start: the bindings of the first call.
        scope: the scope of the first call.
        bindings_for: the bindings that count for a call, from its scope and full selector.
    """
    found: dict[Reached, Binding] = {}
    pending = [(binding, scope) for binding in start]
    while pending:
        binding, scope = pending.pop()
        for place in references(binding, scope):
            if place not in found:
                found[place] = binding
                pending += [(other, place.scope) for other in bindings_for(place.scope, place.selector)]
    return found


def references(binding: Binding, scope: str) -> Iterable[Reached]:
    """Yields what a binding's value refers to, when the binding is for a call in `scope`."""
    for leaf in leaves(binding.value):
        if isinstance(leaf, Ref):
            yield Reached(leaf.scope or scope, leaf.selector, leaf.evaluate)
        elif isinstance(leaf, Macro):
            yield Reached(leaf.name, engine.MACRO, evaluated=True)
