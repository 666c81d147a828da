"""Makes Keras's classes configurable."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection
from types import ModuleType

from . import engine, names

# The first module that has a class names it; `keras` comes last, so that `keras.Sequential` is the alias.
_MODULES = (
    "keras.models",
    "keras.layers",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.losses",
    "keras.metrics",
    "keras.regularizers",
    "keras.initializers",
    "keras.constraints",
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


def register_keras() -> None:
    """Registers Keras's public classes with gin, as `@keras.optimizers.Adam()` or in short `@Adam()`.

    The classes themselves stay as they are: a call from Python takes nothing from a config. Gin is told of a class
    when its name is first used. Further calls do nothing.
    """
    registered: dict[type, str] = {}
    known = engine.configurables()
    for module_name in _MODULES:
        module = importlib.import_module(module_name)
        for name, target in _classes(module):
            _register(target, module_name, name, registered, known)


def _classes(module: ModuleType) -> list[tuple[str, type]]:
    """Returns a module's classes, each under its own name first and then under its other names."""
    found = [(name, target) for name, target in vars(module).items() if inspect.isclass(target) and name[0] != "_"]
    if module.__name__ == "keras":
        found = [(name, target) for name, target in found if name in _FROM_KERAS_ITSELF]
    return sorted(found, key=lambda item: (item[0] != item[1].__name__, item[0]))


def _register(target: type, module: str, name: str, registered: dict[type, str], known: Collection[str]) -> None:
    selector = f"{module}.{name}"
    if target in registered:
        names.ALIASES[selector] = registered[target]
        return
    registered[target] = selector
    if selector not in known:
        engine.announce(target, name, module)
