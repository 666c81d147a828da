"""Finds configurables and macros that need themselves: gin would recurse without end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .reach import references

if TYPE_CHECKING:
    from .config import Binding, Config

Call = tuple[str, str]


def circles(config: Config) -> list[str]:
    """Returns a message for each circle of evaluated references and macros."""
    found: dict[frozenset[int], str] = {}
    done: set[Call] = set()
    for binding in config.effective.values():
        for circle in _from((binding.scope, binding.selector), config, [], [], done):
            indices = frozenset(member.index for member in circle)
            found.setdefault(indices, _message(circle))
    return list(found.values())


def _from(
    call: Call, config: Config, calls: list[Call], path: list[Binding], done: set[Call]
) -> Iterator[list[Binding]]:
    """Yields the bindings of each circle that is reached from a call, itself reached by `path`."""
    if call in calls:
        yield path[calls.index(call) :]
    elif call not in done:
        for binding in config.bindings_for(*call).values():
            for place in references(binding, call[0]):
                if place.evaluated:
                    further = [*calls, call], [*path, binding]
                    yield from _from((place.scope, place.selector), config, *further, done)
        done.add(call)


def _message(circle: list[Binding]) -> str:
    steps = ", ".join(f"`{binding}` ({binding.place})" for binding in circle)
    return f"{circle[0].place}: {circle[0].name} needs itself: {steps}"
