"""The names of configurables, Keras's classes included, and of scopes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

from gin import selector_map

from ...metrics.errors import UsageError, did_you_mean
from . import engine

KERAS = "keras."
_IF_YOURS = "If it is yours, decorate it with @gin.register, and name its module with --import_module"

# The first module that has a class gives it its name; `keras` comes last, so that `keras.Sequential` is the alias.
_APPLICATIONS = "keras.applications"  # whose models are functions
_KERAS_MODULES = (
    "keras.models",
    "keras.layers",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.losses",
    "keras.metrics",
    "keras.regularizers",
    "keras.initializers",
    "keras.constraints",
    _APPLICATIONS,
    "keras",
)
_FROM_KERAS_ITSELF = (
    "Model",
    "Sequential",
    "Layer",
    "Optimizer",
    "Loss",
    "Metric",
    "Regularizer",
    "Initializer",
)

# Keras gives many classes several public names. Each class is registered under one of them: otherwise a binding for one
# name would not reach a reference by another. The other names are resolved through this map.
_ALIASES = selector_map.SelectorMap()


def resolve(selector: str) -> str:
    """Return the full selector of the configurable that `selector` names, and register it if it was only announced.

    Other names take precedence over Keras's: `Input` is Tallyloop's.

    Raises:
      UsageError: the name is unknown or ambiguous.
    """
    found = sorted(set(engine.matching(selector)) or {_ALIASES[a] for a in _ALIASES.matching_selectors(selector)})
    if len(found) > 1:
        found = [name for name in found if not name.startswith(KERAS)] or found
    if not found:
        meant = did_you_mean(selector, known()) or "."
        raise UsageError(f'unknown configurable "{selector}"{meant} {_IF_YOURS}')
    if len(found) > 1:
        raise UsageError(f'"{selector}" is ambiguous: write {" or ".join(found)}')
    engine.register(found[0])
    return found[0]


def known() -> set[str]:
    """Return all names that a config can use for a configurable, full and short."""
    full = {*engine.configurables(), *(alias for alias, _ in _ALIASES.items())}
    return full | {name.rpartition(".")[2] for name in full}


def short(selector: str) -> str:
    """Return the shortest name that `resolve` maps to this full selector."""
    last = selector.rpartition(".")[2]
    if not selector.startswith(KERAS) and not engine.configurables()[selector].is_method:
        others = [name for name in engine.matching(last) if not name.startswith(KERAS)]
        if others == [selector] and last not in engine.configurables():
            return last
    return engine.shortest(selector)


def key(scope: str, selector: str, param: str) -> str:
    """Return the left-hand side of a binding, `scope/Name.param`; for a macro, its name alone."""
    return scope if selector == engine.MACRO else f"{scoped(scope, selector)}.{param}"


def scoped(scope: str, selector: str) -> str:
    """Return `scope/Name`, or `Name` without a scope."""
    return f"{scope}/{short(selector)}" if scope else short(selector)


def is_within(outer: str, scope: str) -> bool:
    """Return whether a binding for the scope `outer` applies to a call in `scope`."""
    return not outer or scope == outer or scope.startswith(f"{outer}/")


def register_keras() -> None:
    """Make Keras's public classes configurable, as `@keras.optimizers.Adam()` or `@Adam()` for short, and its applications.

    The classes themselves stay as they are: a call from Python takes nothing from a config. Gin learns of a class when its
    name is first used (see `engine.announce`). Further calls do nothing.
    """
    registered: dict[Callable[..., Any], str] = {}
    before = engine.configurables()
    for module_name in _KERAS_MODULES:
        module = importlib.import_module(module_name)
        for name, target in _keras_classes(module):
            _register_keras_class(target, module_name, name, registered, before)


def _keras_classes(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    """Return a module's classes by name: each class under its own name first, then under its other names.

    Of `keras.applications`, the functions that make a model, such as `MobileNetV2`.
    """
    is_wanted = inspect.isfunction if module.__name__ == _APPLICATIONS else inspect.isclass
    found = [(name, target) for name, target in vars(module).items() if is_wanted(target) and name[0] != "_"]
    if module.__name__ == "keras":
        found = [(name, target) for name, target in found if name in _FROM_KERAS_ITSELF]
    return sorted(found, key=lambda item: (item[0] != item[1].__name__, item[0]))


def _register_keras_class(
    target: Callable[..., Any],
    module: str,
    name: str,
    registered: dict[Callable[..., Any], str],
    before: Collection[str],
) -> None:
    selector = f"{module}.{name}"
    if target in registered:
        _ALIASES[selector] = registered[target]
        return
    registered[target] = selector
    if selector not in before:
        engine.announce(target, name, module)
