"""Finds the configurable that a name means."""

from __future__ import annotations

from gin import selector_map

from ...metrics.errors import UsageError
from . import engine
from .near import did_you_mean

KERAS = "keras."

# Keras gives many classes several public names. Each class is registered once, or bindings for one name would
# not reach references to another; the other names lead to it from here.
ALIASES = selector_map.SelectorMap()


def resolve(selector: str) -> str:
    """Returns the full selector of the configurable that `selector` means, which is registered from then on.

    A name of Keras's gives way to anybody else's: `Input` is Tallyloop's.

    Raises:
        UsageError: nothing has this name, or several things have.
    """
    found = sorted(set(engine.matching(selector)) or {ALIASES[a] for a in ALIASES.matching_selectors(selector)})
    if len(found) > 1:
        found = [name for name in found if not name.startswith(KERAS)] or found
    if not found:
        raise UsageError(f'no configurable is called "{selector}"{did_you_mean(selector, known())}')
    if len(found) > 1:
        raise UsageError(f'"{selector}" may mean {" or ".join(found)}: write one of these in full')
    engine.register(found[0])
    return found[0]


def known() -> set[str]:
    """Returns every name that a config may use for a configurable: full, and short."""
    full = {*engine.configurables(), *(alias for alias, _ in ALIASES.items())}
    return full | {name.rpartition(".")[2] for name in full}


def short(selector: str) -> str:
    """Returns the shortest name that `resolve` leads back to a full selector."""
    last = selector.rpartition(".")[2]
    if not selector.startswith(KERAS) and not engine.configurables()[selector].is_method:
        others = [name for name in engine.matching(last) if not name.startswith(KERAS)]
        if others == [selector] and last not in engine.configurables():
            return last
    return engine.shortest(selector)


def key(scope: str, selector: str, param: str) -> str:
    """Returns the text of a binding's left-hand side, `scope/Name.param`; a macro is its name alone."""
    if selector == engine.MACRO:
        return scope
    return f"{scope}/{short(selector)}.{param}" if scope else f"{short(selector)}.{param}"


def scoped(scope: str, selector: str) -> str:
    """Returns `scope/Name`, or `Name` without a scope."""
    return f"{scope}/{short(selector)}" if scope else short(selector)
