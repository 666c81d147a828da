"""Checks a config in which all names are known: macros, scopes, types, required values, cycles, duplicates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import gin

from ...metrics.errors import did_you_mean
from . import annotations, engine, names
from .config import Binding, Config
from .ranges import Range
from .reading import Written
from .references import cycles, entered_scopes, is_entered
from .signatures import NO_DEFAULT, signature
from .syntax import Macro, leaves


def problems(config: Config, written: Sequence[Written]) -> list[str]:
    """Return a message per mistake.

    Args:
      config: the bindings in which all names are known.
      written: all bindings: a macro or scope counts as used even if the using binding has an unknown name.
    """
    return [
        *_undefined_macros(written, _macro_names(config, written)),
        *_unused_macros(config, written),
        *_dead_scopes(config, written),
        *(problem for binding in config.effective.values() for problem in _wrong_type(binding, config)),
        *_left_required(config),
        *_left_ranges(config),
        *cycles(config),
    ]


def duplicates(config: Config) -> list[str]:
    """Return a warning for each parameter that one file binds more than once: all of these but the last have no effect."""
    groups: dict[tuple, list[Binding]] = {}
    for binding in config.bindings:
        if binding.location.line is not None:
            groups.setdefault((binding.location.reading, binding.key), []).append(binding)
    found = [_duplicate(group, config.effective[group[0].key]) for group in groups.values() if len(group) > 1]
    return list(dict.fromkeys(found))  # a file that is included twice is read twice


def _duplicate(group: Sequence[Binding], winner: Binding) -> str:
    """Return the warning; the winner may be of another file, one that is included further down, or of the command line."""
    *others, last = group
    here = winner.location[:2] == last.location[:2]  # maybe at another reading of the same file
    lost = [f"line {each.location.line} ({each.value_text})" for each in (others if here else group)]
    wins = f"line {last.location.line}" if here else str(winner.location)
    times = "twice" if len(group) == 2 else f"{len(group)} times"
    effect = "has no effect" if len(lost) == 1 else "have no effect"
    return (
        f"{last.location}: {last.name} is bound {times} in this file: {' and '.join(lost)} {effect}, {wins} "
        f"({winner.value_text}) wins"
    )


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
                candidates = " or ".join(f"%{name}" for name in sorted(constants))
                yield f"{item.location}: %{leaf.name} is ambiguous: write {candidates}"
            elif not constants:
                fix = did_you_mean(leaf.name, macros) or f": add `{leaf.name} = ...`"
                yield f"{item.location}: the macro %{leaf.name} is not defined{fix}"


def _unused_macros(config: Config, written: Sequence[Written]) -> Iterator[str]:
    # A use in an overridden binding counts: whoever overrides a parameter of a bundled config cannot remove the macro
    # that the parameter took.
    used = {leaf.name for item in written for leaf in leaves(item.value) if isinstance(leaf, Macro)}
    for binding in config.effective.values():
        if binding.is_macro and binding.scope not in used:
            yield f'{binding.location}: the macro "{binding.scope}" is never used{_meant_instead(binding, used)}'


def _meant_instead(binding: Binding, used: Collection[str]) -> str:
    """Return a guess: another macro, or a parameter without its `Name.`."""
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
    entered = entered_scopes(item.value for item in written)
    for binding in config.effective.values():
        if not binding.is_macro and not is_entered(binding.scope, entered):
            suggestion = did_you_mean(binding.scope, entered)
            reference = f"@{names.scoped(binding.scope, binding.selector)}()"
            yield (
                f'{binding.location}: the scope "{binding.scope}" is never entered{suggestion or ":"} '
                f"{binding.name} has no effect without a reference such as {reference}"
            )


def _wrong_type(binding: Binding, config: Config) -> Iterator[str]:
    parameter = signature(engine.configurables()[binding.selector]).get(binding.param)
    value, annotation = config.resolved(binding.value), parameter.annotation
    if any(isinstance(leaf, Range) for leaf in leaves(value)):
        return  # another problem
    if parameter.default is not NO_DEFAULT and type(parameter.default) is type(value) and parameter.default == value:
        return  # `x: int = None` takes None
    if annotations.fits(annotations.concrete(value), annotation):
        return
    macros = "".join(f", from `{macro}` ({macro.location})" for macro in _macros_of(binding, config))
    is_wrong_word = isinstance(value, str) and annotations.choices(annotation) and not macros
    got = "" if is_wrong_word else f", got {annotations.kind_of(value)}{macros}"
    fix = _fix(value, annotation)
    yield f"{binding.location}: {binding}: expected {annotations.describe(annotation)}{got}{fix}"


def _fix(value: Any, annotation: Any) -> str:
    """Return a suggestion: the choice that a word resembles, or the same value in another type."""
    choices = annotations.choices(annotation)
    words = [leaf for leaf in leaves(value) if isinstance(leaf, str) and leaf not in choices]
    suggestion = next(filter(None, (did_you_mean(word, choices) for word in words)), "")
    correction = annotations.correction(value, annotation)
    return suggestion or (f"; write {correction}" if correction else "")


def _macros_of(binding: Binding, config: Config) -> Iterator[Binding]:
    for leaf in leaves(binding.value):
        macro = config.macro(leaf.name) if isinstance(leaf, Macro) else None
        if macro:
            yield macro


def _left_required(config: Config) -> Iterator[str]:
    for binding in config.effective.values():
        for leaf in leaves(binding.value):
            if isinstance(leaf, Macro) and _is_required(leaf.name):
                yield f"{binding.location}: {binding.name} is required but not bound: add `{binding.name} = ...`"


def _left_ranges(config: Config) -> Iterator[str]:
    for binding in config.effective.values():
        if any(isinstance(leaf, Range) for leaf in leaves(binding.value)):
            yield (
                f"{binding.location}: {binding}: expected a value, got a range, from which --study=NAME chooses; without a "
                f"study, give one: --gin_param={binding.name}=VALUE"
            )


def _is_required(name: str) -> bool:
    found = engine.constants(name)
    return len(found) == 1 and gin.query_parameter(found[0]) is gin.REQUIRED
