"""Which scopes a config enters."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from .values import Macro, Ref, leaves


def entered(values: Iterable[Any]) -> set[str]:
    """Returns the scopes that these values enter: by references, and gin evaluates `%x` in the scope `x`."""
    found = set()
    for leaf in leaves(list(values)):
        if isinstance(leaf, Ref) and leaf.scope:
            found.add(leaf.scope)
        elif isinstance(leaf, Macro):
            found.add(leaf.name)
    return found


def is_entered(scope: str, entered: Collection[str], extra: Collection[str]) -> bool:
    """Tells whether a call may happen in `scope`, or in a scope inside it.

    Args:
        scope: such as `train/inner`; the empty scope holds everywhere.
        entered: scopes that references enter.
        extra: scopes that code enters, each of them perhaps inside another.
    """
    if not scope or any(is_within(scope, other) for other in (*entered, *extra)):
        return True
    outer = [scope.removesuffix(f"/{name}") for name in extra if scope.endswith(f"/{name}")]
    return any(is_entered(each, entered, extra) for each in outer)


def is_within(outer: str, scope: str) -> bool:
    """Tells whether a binding for `outer` holds for a call in `scope`."""
    return not outer or scope == outer or scope.startswith(f"{outer}/")
