"""Which bindings the run has used."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from ...metrics.errors import UsageError
from . import engine, names
from .reach import reach
from .scopes import is_within

if TYPE_CHECKING:
    from .config import Binding, Config


@dataclasses.dataclass(frozen=True)
class Unused:
    """A binding that had no effect, and why."""

    binding: Binding
    reason: str

    def __str__(self) -> str:
        return f"{self.binding.place}: {self.binding}: {self.reason}"


def unused(config: Config) -> list[Unused]:
    """Returns the bindings that no call has used, except those that the user has overridden.

    A binding of a file is overridden by a later binding from elsewhere for the same parameter, also for a
    scope inside its own, or for the reference that led to it: whoever replaces the optimizer of a bundled
    config need not unbind that optimizer's learning rate. Macros are left out: their users are listed.
    """
    calls = engine.used()
    found = []
    for binding in config.effective.values():
        if binding.is_macro or is_used(binding, config, calls):
            continue
        if not _was_overridden(binding, config):
            found.append(Unused(binding, _reason(binding, config, calls)))
    return found


def check_consumed(config: Config, ignore: Collection[str] = ()) -> None:
    """Checks that every binding was used; call it after the first train step and the first eval step.

    Args:
        config: what `load` returned.
        ignore: names that this mode of running does not use: `Name`, `Name.param`, `scope/Name` or
            `scope/Name.param`.

    Raises:
        UsageError: it lists each binding that had no effect, with its place and the reason.
    """
    found = [item for item in unused(config) if not _is_ignored(item.binding, ignore)]
    if len(found) == 1:
        raise UsageError(f"a binding has no effect: {found[0]}")
    if found:
        raise UsageError(f"{len(found)} bindings have no effect:\n" + "\n".join(f"  {item}" for item in found))


def is_used(binding: Binding, config: Config, calls: dict) -> bool:
    """Tells whether some call took its value from this binding."""
    return any(
        binding.param in parameters and winner(config, scope, binding) is binding
        for scope, parameters in _calls_of(binding, calls)
    )


def winner(config: Config, scope: str, binding: Binding) -> Binding | None:
    """Returns the binding for the same parameter that a call in `scope` takes."""
    return config.bindings_for(scope, binding.selector).get(binding.param)


def _calls_of(binding: Binding, calls: dict) -> list[tuple[str, dict]]:
    return [
        (scope, parameters)
        for (scope, selector), parameters in calls.items()
        if selector == binding.selector and is_within(binding.scope, scope)
    ]


def _reason(binding: Binding, config: Config, calls: dict) -> str:
    found = _calls_of(binding, calls)
    if not found:
        where = f' in scope "{binding.scope}"' if binding.scope else ""
        return f"{names.short(binding.selector)} was never called{where}"
    for scope, parameters in found:
        stronger = winner(config, scope, binding)
        if binding.param in parameters and stronger is not None:
            return f"{stronger.name} ({stronger.place}) is for an inner scope and wins in every call"
    return f"the code that calls {names.short(binding.selector)} gives `{binding.param}` itself"


def _was_overridden(binding: Binding, config: Config) -> bool:
    for other in config.effective.values():
        same = (other.selector, other.param) == (binding.selector, binding.param)
        if same and is_within(binding.scope, other.scope) and _overrides(other, binding):
            return True
    return any(_overrides(won, binding) and _leads_to(lost, binding, config) for lost, won in config.overridden())


def _overrides(later: Binding, binding: Binding) -> bool:
    return later.index > binding.index and later.place.source != binding.place.source


def _leads_to(lost: Binding, binding: Binding, config: Config) -> bool:
    """Tells whether a binding's references lead to a call that would have taken another binding."""
    places = reach([lost], lost.scope, lambda scope, selector: _all_for(config, scope, selector))
    return any(place.selector == binding.selector and is_within(binding.scope, place.scope) for place in places)


def _all_for(config: Config, scope: str, selector: str) -> list[Binding]:
    return [b for b in config.bindings if b.selector == selector and is_within(b.scope, scope)]


def _is_ignored(binding: Binding, ignore: Collection[str]) -> bool:
    for name in ignore:
        scope, _, rest = name.rpartition("/")
        selector, _, param = rest.rpartition(".")
        in_scope = not scope or is_within(scope, binding.scope)
        if in_scope and (_means(rest, binding) or (param == binding.param and _means(selector, binding))):
            return True
    return False


def _means(selector: str, binding: Binding) -> bool:
    return bool(selector) and (binding.selector == selector or binding.selector.endswith(f".{selector}"))
