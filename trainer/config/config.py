"""A loaded config: all bindings in order, and lookups in them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from gin import config_parser

from . import engine, names
from .syntax import Macro, render, replace

COMMAND_LINE = "--gin_param"

Key = tuple[str, str, str]
"""Scope, full selector and parameter."""


class Location(NamedTuple):
    """The place of a binding: a line of a file, or one `--gin_param`."""

    source: str
    line: int | None = None
    param: str | None = None
    reading: int = 0
    """The number of the reading: a file that is included twice is read twice."""

    def __str__(self) -> str:
        if self.param is not None:
            return f'{COMMAND_LINE} "{self.param}"'
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Binding:
    """One line `scope/Name.param = value`. As in gin, a macro is `("its/name", "gin.macro", "value")`."""

    scope: str
    selector: str
    """The full selector of the configurable."""
    param: str
    value: Any
    location: Location
    index: int
    """The position among all bindings of the config. The last binding for a key wins."""

    @property
    def key(self) -> Key:
        """The name that is bound."""
        return self.scope, self.selector, self.param

    @property
    def is_macro(self) -> bool:
        """True if this defines a macro."""
        return self.selector == engine.MACRO

    @property
    def name(self) -> str:
        """The left-hand side, with the shortest name of the configurable."""
        return names.key(*self.key)

    @property
    def value_text(self) -> str:
        """The right-hand side."""
        return render(self.value, names.short)

    def __str__(self) -> str:
        return f"{self.name} = {self.value_text}"


@dataclasses.dataclass(frozen=True)
class Config:
    """The bindings that `load` read. The values themselves are in gin, which injects them.

    Attributes:
      calls: what gin has injected before another config took its place: see `engine.used`.
    """

    bindings: tuple[Binding, ...]
    imports: tuple[config_parser.ImportStatement, ...] = ()
    warnings: tuple[str, ...] = ()
    calls: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @functools.cached_property
    def effective(self) -> dict[Key, Binding]:
        """The winning binding for each key."""
        return {binding.key: binding for binding in self.bindings}

    def macro(self, name: str) -> Binding | None:
        """Return the binding that defines the macro `%name`."""
        return self.effective.get((name, engine.MACRO, "value"))

    def overridden(self) -> Iterator[tuple[Binding, Binding]]:
        """Yield each binding that a later one overrides, with the one that wins."""
        effective = self.effective
        for binding in self.bindings:
            if effective[binding.key] is not binding:
                yield binding, effective[binding.key]

    def bindings_for(self, scope: str, selector: str) -> dict[str, Binding]:
        """Return what a call in `scope` takes: for each parameter, the binding with the innermost scope."""
        found = [b for b in self.effective.values() if b.selector == selector and names.is_within(b.scope, scope)]
        return {b.param: b for b in sorted(found, key=lambda b: len(b.scope))}

    def resolved(self, value: Any) -> Any:
        """Return a value with its macros replaced by theirs; constants, and macros that are undefined or circular, stay."""
        return self._resolved(value, ())

    def _resolved(self, value: Any, inside: tuple[str, ...]) -> Any:
        def change(leaf: Any) -> Any:
            binding = self.macro(leaf.name) if isinstance(leaf, Macro) else None
            if binding is None or leaf.name in inside:
                return leaf
            return self._resolved(binding.value, (*inside, leaf.name))

        return replace(value, change)
