"""Where the references in a config's values lead: to scopes, to other configurables, and back to themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple

from . import engine
from .config import Binding, Config
from .names import is_within
from .syntax import Macro, Ref, leaves


class Reached(NamedTuple):
    """A configurable that a reference leads to."""

    scope: str
    """The scope of its call. A reference without a scope keeps that of the call it is made for."""
    selector: str
    evaluated: bool
    """Whether the reference calls it (`@x()`), so that the config alone supplies its parameters."""


def references(binding: Binding, scope: str) -> Iterator[Reached]:
    """Yield what a binding's value refers to, if the binding is taken by a call in `scope`."""
    for leaf in leaves(binding.value):
        if isinstance(leaf, Ref):
            yield Reached(leaf.scope or scope, leaf.selector, leaf.evaluate)
        elif isinstance(leaf, Macro):
            yield Reached(leaf.name, engine.MACRO, evaluated=True)


def reach(
    start: Iterable[Binding], scope: str, bindings_for: Callable[[str, str], Iterable[Binding]]
) -> dict[Reached, Binding]:
    """Return all that some bindings lead to, each with the binding that refers to it.

    Args:
      start: the bindings of the first call.
      scope: the scope of the first call.
      bindings_for: the bindings to follow for a call, given its scope and full selector.
    """
    found: dict[Reached, Binding] = {}
    pending = [(binding, scope) for binding in start]
    while pending:
        binding, scope = pending.pop()
        for target in references(binding, scope):
            if target not in found:
                found[target] = binding
                pending += [(other, target.scope) for other in bindings_for(target.scope, target.selector)]
    return found


def entered_scopes(values: Iterable[Any]) -> set[str]:
    """Return the scopes that values enter: those of references, and `x` for `%x`, as gin evaluates a macro in its scope."""
    found = set()
    for leaf in leaves(list(values)):
        if isinstance(leaf, Ref) and leaf.scope:
            found.add(leaf.scope)
        elif isinstance(leaf, Macro):
            found.add(leaf.name)
    return found


def is_entered(scope: str, entered: Collection[str]) -> bool:
    """Return whether a call in one of the `entered` scopes is also in `scope`; every call is in the empty scope."""
    return not scope or any(is_within(scope, other) for other in entered)


def cycles(config: Config) -> list[str]:
    """Return a message per cycle of evaluated references and macros, in which gin would recurse forever."""
    found: dict[frozenset[int], str] = {}
    done: set[tuple[str, str]] = set()
    for binding in config.effective.values():
        for cycle in _cycles_from((binding.scope, binding.selector), config, [], [], done):
            found.setdefault(frozenset(member.index for member in cycle), _cycle_message(cycle))
    return list(found.values())


def _cycles_from(
    call: tuple[str, str],
    config: Config,
    calls: list[tuple[str, str]],
    path: list[Binding],
    done: set[tuple[str, str]],
) -> Iterator[list[Binding]]:
    """Yield the bindings of each cycle reached from a call, which itself was reached through `calls` and `path`."""
    if call in calls:
        yield path[calls.index(call) :]
    elif call not in done:
        for binding in config.bindings_for(*call).values():
            for target in references(binding, call[0]):
                if target.evaluated:
                    further = [*calls, call], [*path, binding]
                    yield from _cycles_from((target.scope, target.selector), config, *further, done)
        done.add(call)


def _cycle_message(cycle: list[Binding]) -> str:
    steps = ", ".join(f"`{binding}` ({binding.location})" for binding in cycle)
    return f"{cycle[0].location}: {cycle[0].name} depends on itself: {steps}"
