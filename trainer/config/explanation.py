"""Says where a parameter's value comes from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...metrics.errors import UsageError
from . import annotations, engine, names
from .config import Binding, Config
from .lookup import no_such_parameter
from .near import did_you_mean
from .scopes import is_within
from .signatures import NOTHING, UNKNOWN, Parameter, signature
from .usage import is_used
from .values import Macro, leaves


def explain(config: Config, name: str) -> str:
    """Returns every binding of a name in order, with its place, and which one wins.

    Args:
        config: what `load` returned.
        name: a parameter (`Trainer.train_steps`, `train/Input.shuffle`), a configurable (`Input`), or a macro
            (`lr` or `%lr`).

    Raises:
        UsageError: nothing has this name.
    """
    macro = name.removeprefix("%")
    if any(binding.is_macro and binding.scope == macro for binding in config.bindings):
        return "\n".join(_macro(config, macro))
    if name.startswith("%"):
        known = {binding.scope for binding in config.bindings if binding.is_macro}
        raise UsageError(f"no macro is called {name}{did_you_mean(macro, known)}")
    scope, selector, param = _find(name, config)
    takes = signature(engine.configurables()[selector])
    params = [param] if param else list(dict.fromkeys([*takes.parameters, *_bound(config, selector)]))
    return "\n".join(line for p in params for line in _parameter(config, scope, selector, takes.get(p)))


def _find(name: str, config: Config) -> tuple[str, str, str]:
    """Returns scope, full selector and parameter; the parameter is empty for a whole configurable."""
    scope, _, rest = name.rpartition("/")
    selector, _, param = rest.rpartition(".")
    try:
        return scope, names.resolve(rest), ""
    except UsageError as error:
        if not selector:
            macros = {binding.scope for binding in config.bindings if binding.is_macro}
            near = did_you_mean(rest, {*names.known(), *macros})
            raise UsageError(f'"{name}" is no configurable, parameter or macro{near}') from error
    full = names.resolve(selector)
    takes = signature(engine.configurables()[full])
    if param not in takes:
        raise UsageError(no_such_parameter(engine.configurables()[full], param, takes))
    return scope, full, param


def _bound(config: Config, selector: str) -> list[str]:
    return [binding.param for binding in config.bindings if binding.selector == selector]


def _parameter(config: Config, scope: str, selector: str, parameter: Parameter) -> Iterator[str]:
    yield f"{names.key(scope, selector, parameter.name)}{_type_and_default(parameter)}"
    found = [b for b in config.bindings if (b.selector, b.param) == (selector, parameter.name)]
    if scope:
        found = [binding for binding in found if is_within(binding.scope, scope)]
    if not found:
        yield f"  nothing binds it{': it is required' if parameter.required else ': the default holds'}"
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
        return "used or not: not known yet"
    return "used" if is_used(binding, config, calls) else "not used so far"


def _line(binding: Binding, status: str) -> str:
    return f"  {binding.place}: {binding}  ({status})"


def _type_and_default(parameter: Parameter) -> str:
    parts = []
    if parameter.annotation is not UNKNOWN:
        parts.append(annotations.describe(parameter.annotation))
    if parameter.required:
        parts.append("required")
    elif parameter.default is not NOTHING:
        parts.append(f"default {default_text(parameter.default)}")
    return f" ({', '.join(parts)})" if parts else ""


def default_text(default: Any) -> str:
    """Returns a default as a user can read it: a function by its name."""
    return getattr(default, "__qualname__", None) or repr(default)


def _macro(config: Config, name: str) -> Iterator[str]:
    yield f"%{name} (a macro)"
    for binding in config.bindings:
        if binding.is_macro and binding.scope == name:
            wins = config.effective[binding.key] is binding
            yield _line(binding, f"wins, {_use(binding, config)}" if wins else "overridden")
    for binding in config.effective.values():
        if any(isinstance(leaf, Macro) and leaf.name == name for leaf in leaves(binding.value)):
            yield f"  taken by {binding.place}: {binding}"
