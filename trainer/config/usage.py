"""Which bindings take effect: the check that all were used, and the explanation of a single value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from ...metrics.errors import UsageError, did_you_mean
from . import annotations, engine, names
from .config import Binding, Config
from .names import is_within
from .references import Reached, reach, references
from .signatures import NO_DEFAULT, UNKNOWN, Parameter, default_text, no_such_parameter, signature
from .syntax import Macro, leaves

_Calls = dict[tuple[str, str], dict[str, Any]]  # as `engine.used` returns them


@dataclasses.dataclass(frozen=True)
class Unused:
    """A binding without effect, and why it has none."""

    binding: Binding
    reason: str

    def __str__(self) -> str:
        return f"{self.binding.location}: {self.binding}: {self.reason}"


def check_consumed(config: Config) -> None:
    """Check that every binding was used; call it after the first train step and the first eval step.

    Raises:
      UsageError: it lists each binding without effect, with its location and the reason.
    """
    found = unused(config)
    if len(found) == 1:
        raise UsageError(f"a binding has no effect: {found[0]}")
    if found:
        raise UsageError(f"{len(found)} bindings have no effect:\n" + "\n".join(f"  {item}" for item in found))


def unused(config: Config) -> list[Unused]:
    """Return the bindings that no call has used, except those that the user has overridden.

    A file's binding is overridden by a later one from elsewhere for the same parameter, for a scope inside its own, or for
    the reference that led to it: whoever replaces the optimizer of a bundled config need not unbind its learning rate.
    Macros are left out, as the bindings that use them are listed; and functions that were passed on without being called, such
    as that of an action, which may be called later.
    """
    calls, kept = engine.used(), taken(config)
    return [
        Unused(binding, _reason(binding, config, calls))
        for binding in config.effective.values()
        if not (binding.is_macro or binding in kept or _was_overridden(binding, config))
    ]


def taken(config: Config) -> list[Binding]:
    """Return the bindings that a call has used, and those of functions that were passed on and may be called later; no macros."""
    calls = engine.used()
    bindings = [binding for binding in config.effective.values() if not binding.is_macro]
    used = [binding for binding in bindings if _is_used(binding, config, calls)]
    later = _called_later(used, config)
    return [b for b in bindings if b in used or (_is_reached(b, later) and not _calls_of(b, calls))]


def _called_later(used: list[Binding], config: Config) -> set[Reached]:
    """Return what is reached from the references that used bindings pass on without calling them, as `@x`."""
    passed = {each for binding in used for each in references(binding, binding.scope) if not each.evaluated}
    inner = [b for each in passed for b in _all_for(config, each.scope, each.selector)]
    return passed | {
        found
        for binding in inner
        for found in reach([binding], binding.scope, lambda scope, selector: _all_for(config, scope, selector))
    }


def _is_reached(binding: Binding, reached: set[Reached]) -> bool:
    return any(each.selector == binding.selector and is_within(binding.scope, each.scope) for each in reached)


def _is_used(binding: Binding, config: Config, calls: _Calls) -> bool:
    return any(
        binding.param in parameters and _winner(config, scope, binding) is binding
        for scope, parameters in _calls_of(binding, calls)
    )


def _winner(config: Config, scope: str, binding: Binding) -> Binding | None:
    """Return the binding for the same parameter that a call in `scope` takes."""
    return config.bindings_for(scope, binding.selector).get(binding.param)


def _calls_of(binding: Binding, calls: _Calls) -> list[tuple[str, dict[str, Any]]]:
    return [
        (scope, parameters)
        for (scope, selector), parameters in calls.items()
        if selector == binding.selector and is_within(binding.scope, scope)
    ]


def _reason(binding: Binding, config: Config, calls: _Calls) -> str:
    found = _calls_of(binding, calls)
    if not found:
        where = f' in scope "{binding.scope}"' if binding.scope else ""
        return f"{names.short(binding.selector)} was never called{where}"
    for scope, parameters in found:
        stronger = _winner(config, scope, binding)
        if binding.param in parameters and stronger is not None:
            return f"every call takes {stronger.name} ({stronger.location}), which is for an inner scope"
    return f"the code that calls {names.short(binding.selector)} passes `{binding.param}` itself"


def _was_overridden(binding: Binding, config: Config) -> bool:
    for other in config.effective.values():
        same = (other.selector, other.param) == (binding.selector, binding.param)
        if same and is_within(binding.scope, other.scope) and _overrides(other, binding):
            return True
    return any(_overrides(won, binding) and _leads_to(lost, binding, config) for lost, won in config.overridden())


def _overrides(later: Binding, binding: Binding) -> bool:
    return later.index > binding.index and later.location.source != binding.location.source


def _leads_to(lost: Binding, binding: Binding, config: Config) -> bool:
    """Return whether a binding's references lead to a call that would have taken another binding."""
    reached = reach([lost], lost.scope, lambda scope, selector: _all_for(config, scope, selector))
    return _is_reached(binding, {*reached})


def _all_for(config: Config, scope: str, selector: str) -> list[Binding]:
    return [b for b in config.bindings if b.selector == selector and is_within(b.scope, scope)]


def explain(config: Config, name: str) -> str:
    """Return what `--explain` prints: all bindings of a name in order, with their locations, and which one wins.

    Args:
      config: the loaded config.
      name: a parameter (`Trainer.train_steps`, `train/Input.shuffle`), a configurable (`Input`), or a macro (`lr` or `%lr`).

    Raises:
      UsageError: the name is unknown.
    """
    macro = name.removeprefix("%")
    macros = {binding.scope for binding in config.bindings if binding.is_macro}
    if macro in macros:
        return "\n".join(_macro_lines(config, macro))
    if name.startswith("%"):
        raise UsageError(f"unknown macro {name}{did_you_mean(macro, macros)}")
    scope, selector, param = _find(name, macros)
    takes = signature(engine.configurables()[selector])
    bound = [binding.param for binding in config.bindings if binding.selector == selector]
    params = [param] if param else list(dict.fromkeys([*takes.parameters, *bound]))
    return "\n".join(line for p in params for line in _parameter_lines(config, scope, selector, takes.get(p)))


def _find(name: str, macros: set[str]) -> tuple[str, str, str]:
    """Return scope, full selector and parameter; for a whole configurable, the parameter is empty."""
    scope, _, rest = name.rpartition("/")
    selector, _, param = rest.rpartition(".")
    try:
        return scope, names.resolve(rest), ""
    except UsageError as error:
        if not selector:
            suggestion = did_you_mean(rest, {*names.known(), *macros})
            raise UsageError(f'"{name}" is not a configurable, parameter or macro{suggestion}') from error
    full = names.resolve(selector)
    takes = signature(engine.configurables()[full])
    if param not in takes:
        raise UsageError(no_such_parameter(engine.configurables()[full], param, takes))
    return scope, full, param


def _parameter_lines(config: Config, scope: str, selector: str, parameter: Parameter) -> Iterator[str]:
    yield f"{names.key(scope, selector, parameter.name)}{_type_and_default(parameter)}"
    found = [b for b in config.bindings if (b.selector, b.param) == (selector, parameter.name)]
    if scope:
        found = [binding for binding in found if is_within(binding.scope, scope)]
    if not found:
        yield f"  not bound: {'it is required' if parameter.required else 'the default applies'}"
    wins = config.bindings_for(scope, selector).get(parameter.name)
    for binding in found:
        yield _line(binding, _status(binding, wins, config, scope))


def _status(binding: Binding, wins: Binding | None, config: Config, scope: str) -> str:
    if config.effective[binding.key] is not binding:
        return "overridden"
    if binding is wins:
        return f"wins, {_use(binding, config)}"
    if is_within(binding.scope, scope):
        return f"overridden in scope {wins.scope}" if wins else "overridden"
    return f"wins in scope {binding.scope}, {_use(binding, config)}"


def _use(binding: Binding, config: Config) -> str:
    calls = engine.used()
    if not calls:
        return "not known yet whether used"
    return "used" if _is_used(binding, config, calls) else "not used so far"


def _line(binding: Binding, status: str) -> str:
    return f"  {binding.location}: {binding}  ({status})"


def _type_and_default(parameter: Parameter) -> str:
    parts = []
    if parameter.annotation is not UNKNOWN:
        parts.append(annotations.describe(parameter.annotation))
    if parameter.required:
        parts.append("required")
    elif parameter.default is not NO_DEFAULT:
        parts.append(f"default {default_text(parameter.default)}")
    return f" ({', '.join(parts)})" if parts else ""


def _macro_lines(config: Config, name: str) -> Iterator[str]:
    yield f"%{name} (macro)"
    for binding in config.bindings:
        if binding.is_macro and binding.scope == name:
            wins = config.effective[binding.key] is binding
            yield _line(binding, f"wins, {_use(binding, config)}" if wins else "overridden")
    for binding in config.effective.values():
        if any(isinstance(leaf, Macro) and leaf.name == name for leaf in leaves(binding.value)):
            yield f"  used by {binding.location}: {binding}"
