"""What a config may get wrong although every name in it exists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import gin

from . import annotations, engine, names
from .circles import circles
from .config import Binding, Config
from .near import did_you_mean
from .reading import Written
from .scopes import entered, is_entered
from .signatures import NOTHING, signature
from .values import Macro, leaves, render


def problems(config: Config, written: Sequence[Written]) -> list[str]:
    """Returns a message for each mistake.

    Args:
        config: the bindings whose names were found.
        written: all bindings: a macro or a scope counts as used also in one whose name was not found.
    """
    return [
        *_undefined_macros(written, _macro_names(config, written)),
        *_unused_macros(config, written),
        *_dead_scopes(config, written),
        *(problem for b in config.effective.values() for problem in _wrong_type(b, config)),
        *_left_required(config),
        *circles(config),
    ]


def duplicates(bindings: Sequence[Binding]) -> list[str]:
    """Returns a warning for each parameter that one file binds twice: the first has no effect."""
    seen: dict[tuple, Binding] = {}
    found = []
    for binding in bindings:
        if binding.place.line is None:
            continue
        first = seen.get((binding.place.reading, binding.key))
        if first:
            found.append(
                f"{binding.place}: {binding.name} is bound twice in this file: line {first.place.line} "
                f"({first.value_text}) has no effect, line {binding.place.line} ({binding.value_text}) wins"
            )
        seen[binding.place.reading, binding.key] = binding
    return found


def _macro_names(config: Config, written: Sequence[Written]) -> set[str]:
    plain = {f"{item.scope}/{item.selector}".strip("/") for item in written if not item.param}
    return plain | {binding.scope for binding in config.bindings if binding.is_macro}


def _undefined_macros(written: Sequence[Written], macros: Collection[str]) -> Iterator[str]:
    for item in written:
        for leaf in leaves(item.value):
            if not isinstance(leaf, Macro) or leaf.name in macros:
                continue
            constants = engine.constants(leaf.name)
            if len(constants) > 1:
                choices = " or ".join(sorted(constants))
                yield f"{item.place}: %{leaf.name} may mean {choices}: write one in full"
            elif not constants:
                near = did_you_mean(leaf.name, macros) or f": define it, {leaf.name} = ..."
                yield f"{item.place}: the macro %{leaf.name} is not defined{near}"


def _unused_macros(config: Config, written: Sequence[Written]) -> Iterator[str]:
    # A use in an overridden binding counts: the user who overrides a parameter of a bundled config cannot
    # undefine the macro that it took.
    used = {leaf.name for item in written for leaf in leaves(item.value) if isinstance(leaf, Macro)}
    for binding in config.effective.values():
        if binding.is_macro and binding.scope not in used:
            yield f'{binding.place}: nothing uses the macro "{binding.scope}"{_meant_instead(binding, used)}'


def _meant_instead(binding: Binding, used: Collection[str]) -> str:
    """Guesses: a macro that is used, or a parameter whose `Name.` was forgotten."""
    macro = did_you_mean(binding.scope, used)
    if macro:
        return macro
    owners = [
        f'"{names.short(selector)}.{binding.scope}"'
        for selector, configurable in sorted(engine.configurables().items())
        if not selector.startswith((names.KERAS, "gin.")) and binding.scope in signature(configurable).parameters
    ]
    return f": did you mean {' or '.join(owners[:3])}?" if owners else f": no value is %{binding.scope}"


def _dead_scopes(config: Config, written: Sequence[Written]) -> Iterator[str]:
    known = entered(item.value for item in written)
    for binding in config.effective.values():
        if not binding.is_macro and not is_entered(binding.scope, known, config.scopes):
            near = did_you_mean(binding.scope, {*known, *config.scopes})
            reference = f"@{names.scoped(binding.scope, binding.selector)}()"
            yield (
                f'{binding.place}: nothing enters the scope "{binding.scope}"{near or ":"} '
                f"{binding.name} has no effect without a reference such as {reference}"
            )


def _wrong_type(binding: Binding, config: Config) -> Iterator[str]:
    parameter = signature(engine.configurables()[binding.selector]).get(binding.param)
    value, wanted = config.resolved(binding.value), parameter.annotation
    if parameter.default is not NOTHING and type(parameter.default) is type(value) and parameter.default == value:
        return  # `x: int = None` takes None
    if annotations.fits(annotations.concrete(value), wanted):
        return
    correction = annotations.correction(value, wanted)
    advice = f": write {correction}" if correction else ""
    source = "".join(f" (from {place})" for place in _macro_places(binding, config))
    yield (
        f"{binding.place}: {binding.name} wants {annotations.describe(wanted)}, got "
        f"{render(value, names.short)}{_kind(value)}{source}{advice}"
    )


def _kind(value: object) -> str:
    if isinstance(value, bool | None | list | tuple | dict) or not isinstance(value, int | float | str):
        return ""
    return f" ({type(value).__name__})"


def _macro_places(binding: Binding, config: Config) -> Iterator[str]:
    for leaf in leaves(binding.value):
        macro = config.effective.get((leaf.name, engine.MACRO, "value")) if isinstance(leaf, Macro) else None
        if macro:
            yield f"%{leaf.name}, {macro.place}"


def _left_required(config: Config) -> Iterator[str]:
    for binding in config.effective.values():
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro) and _is_required(leaf.name):
                name = binding.name
                yield f"{binding.place}: {name} is required and nothing binds it: add `{name} = ...`"


def _is_required(name: str) -> bool:
    found = engine.constants(name)
    return len(found) == 1 and gin.query_parameter(found[0]) is gin.REQUIRED
