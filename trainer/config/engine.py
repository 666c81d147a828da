"""The only module that touches gin's private names.

Gin has no public way to list its configurables, to see which parameters were used, or to look up a constant.
`tests/trainer/config/test_engine.py` fails when one of these names disappears.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gin.config
from gin.config import Configurable
from gin.config_parser import ImportStatement

MACRO = "gin.macro"
CONSTANT = "gin.constant"

_announced: dict[str, Configurable] = {}


def announce(target: Callable[..., Any], name: str, module: str) -> None:
    """Make a class, or a function, known by name without registering it yet.

    Registering takes gin a millisecond per class, and Keras has hundreds of classes. `register` does it for the classes
    that a config names.
    """
    selector = f"{module}.{name}"

    def register_and_make(*args: Any, **kwargs: Any) -> Any:
        register(selector)
        return gin.get_configurable(selector)(*args, **kwargs)

    known = Configurable(register_and_make, target, name, module, None, None, None, selector)
    _announced[selector] = gin.config._REGISTRY[selector] = gin.config._INVERSE_REGISTRY[target] = known


def register(selector: str) -> None:
    """Register the class announced under this full selector; do nothing if there is none."""
    if announced := _announced.pop(selector, None):
        with unlocked():
            gin.external_configurable(announced.wrapped, name=announced.name, module=announced.module)


def configurables() -> dict[str, Configurable]:
    """Return all registered and announced configurables by full selector."""
    return dict(gin.config._REGISTRY.items())  # there is no public listing


def matching(selector: str) -> list[str]:
    """Return the full selectors that a full or partial selector matches."""
    return gin.config._REGISTRY.matching_selectors(selector)  # gin.get_configurable returns only the wrapper


def shortest(selector: str) -> str:
    """Return the shortest selector that matches this configurable alone."""
    short = gin.config._REGISTRY.minimal_selector(selector)  # public only inside the text that gin prints
    if "." not in short and configurables()[selector].is_method:
        return ".".join(selector.split(".")[-2:])  # gin refuses a method without its class
    return short


def constants(name: str) -> list[str]:
    """Return the full names of the `gin.constant`s that `%name` matches."""
    return gin.config._CONSTANTS.matching_selectors(name)  # gin.query_parameter mixes them with bindings


def used() -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the calls so far have used: (scope of the call, full selector) -> parameter -> value."""
    with gin.config._OPERATIVE_CONFIG_LOCK:  # gin.operative_config_str loses the order of dicts, and infinities
        return {key: dict(values) for key, values in gin.config._OPERATIVE_CONFIG.items()}


def remember(calls: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Count these calls as made, as `used` returned them before the config was replaced."""
    with gin.config._OPERATIVE_CONFIG_LOCK:
        for key, values in calls.items():
            gin.config._OPERATIVE_CONFIG.setdefault(key, {}).update(values)


def is_reference(value: Any) -> bool:
    """Return whether gin holds this value as a reference, a macro or a constant."""
    return isinstance(value, gin.config.ConfigurableReference)


@contextlib.contextmanager
def unlocked() -> Iterator[None]:
    """Unlock gin's config inside the context, and lock it again even after an exception.

    `gin.unlock_config` alone leaves the config unlocked when its body raises.
    """
    failure = None
    with gin.unlock_config():
        try:
            yield
        except BaseException as error:
            failure = error
    if failure is not None:
        raise failure


def run_import(statement: ImportStatement) -> None:
    """Import the module of an `import` line, which may register configurables.

    Not left to `gin.parse_config`, which raises a copy of the exception without its attributes.
    """
    with unlocked():
        importlib.import_module(statement.module)


def clear() -> None:
    """Remove and unlock gin's config; what is registered stays."""
    gin.clear_config()


def feed(imports: Iterable[ImportStatement], lines: Iterable[str]) -> None:
    """Replace gin's config by these imports and bindings, and lock it."""
    gin.clear_config()
    for statement in imports:
        gin.parse_config(statement.format())
    for line in lines:
        gin.parse_config(line)
    gin.finalize()
