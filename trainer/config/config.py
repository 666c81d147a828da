"""A loaded config: every binding in order, and the answers that a launch needs from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from gin import config_parser

from . import engine, names
from .places import Place
from .scopes import is_within
from .values import Macro, render, replace

Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Binding:
    """One line `scope/Name.param = value`; a macro is `("its/name", "gin.macro", "value")`, as in gin."""

    scope: str
    selector: str
    """The full selector of the configurable."""
    param: str
    value: Any
    place: Place
    index: int
    """Its position among all bindings of the config; the last one for a key wins."""

    @property
    def key(self) -> Key:
        """What is bound: scope, full selector and parameter."""
        return self.scope, self.selector, self.param

    @property
    def is_macro(self) -> bool:
        """Whether this gives a macro its value."""
        return self.selector == engine.MACRO

    @property
    def name(self) -> str:
        """The left-hand side as a user writes it."""
        return names.key(*self.key)

    @property
    def value_text(self) -> str:
        """The right-hand side as a user writes it."""
        return render(self.value, names.short)

    def __str__(self) -> str:
        return f"{self.name} = {self.value_text}"


@dataclasses.dataclass(frozen=True)
class Config:
    """What `load` read. The values themselves are in gin, which injects them."""

    bindings: tuple[Binding, ...]
    imports: tuple[config_parser.ImportStatement, ...] = ()
    warnings: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    """Scopes that code enters, as given to `load`."""

    @functools.cached_property
    def effective(self) -> dict[Key, Binding]:
        """The binding that wins, for each key."""
        return {binding.key: binding for binding in self.bindings}

    def overridden(self) -> Iterator[tuple[Binding, Binding]]:
        """Yields each binding that lost against a later one, with the one that wins."""
        effective = self.effective
        for binding in self.bindings:
            if effective[binding.key] is not binding:
                yield binding, effective[binding.key]

    def bindings_for(self, scope: str, selector: str) -> dict[str, Binding]:
        """Returns what a call in `scope` takes: for each parameter, the binding for the innermost scope."""
        found = [b for b in self.effective.values() if b.selector == selector and is_within(b.scope, scope)]
        return {b.param: b for b in sorted(found, key=lambda b: len(b.scope))}

    def resolved(self, value: Any) -> Any:
        """Returns a value with its macros replaced by theirs; constants stay."""
        return resolve_macros(value, self.effective)


def resolve_macros(value: Any, effective: dict[Key, Binding], inside: tuple[str, ...] = ()) -> Any:
    """Replaces macros by their values; an undefined macro, a constant or a circle stays as it is."""

    def change(leaf: Any) -> Any:
        binding = effective.get((leaf.name, engine.MACRO, "value")) if isinstance(leaf, Macro) else None
        if binding is None or leaf.name in inside:
            return leaf
        return resolve_macros(binding.value, effective, (*inside, leaf.name))

    return replace(value, change)
