"""The only module that touches what gin keeps private.

Gin has no public way to list its configurables, to see which parameters were used, or to ask for a constant.
`tests/trainer/config/test_engine.py` notices when one of these names goes away.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import gin

MACRO = "gin.macro"
CONSTANT = "gin.constant"

Configurable = gin.config.Configurable


_announced: dict[str, Configurable] = {}


def announce(target: type, name: str, module: str) -> None:
    """Gives a class a name without registering it yet, as that takes gin a millisecond, and Keras has hundreds of classes."""
    selector = f"{module}.{name}"

    def registered_and_made(*args: Any, **kwargs: Any) -> Any:
        register(selector)
        return gin.get_configurable(selector)(*args, **kwargs)

    known = Configurable(registered_and_made, target, name, module, None, None, None, selector)
    _announced[selector] = gin.config._REGISTRY[selector] = gin.config._INVERSE_REGISTRY[target] = known


def register(selector: str) -> None:
    """Registers what was announced under this name; there may be nothing to do."""
    if announced := _announced.pop(selector, None):
        with unlocked():
            gin.external_configurable(announced.wrapped, name=announced.name, module=announced.module)


def configurables() -> dict[str, Configurable]:
    """Returns every registered configurable by its full selector."""
    return dict(gin.config._REGISTRY.items())  # no public listing exists


def matching(selector: str) -> list[str]:
    """Returns the full selectors that a full or partial selector may stand for."""
    return gin.config._REGISTRY.matching_selectors(selector)  # gin.get_configurable returns the wrapper only


def shortest(selector: str) -> str:
    """Returns the shortest selector that still means this configurable alone."""
    short = gin.config._REGISTRY.minimal_selector(selector)  # only inside the text that gin prints
    if "." not in short and configurables()[selector].is_method:
        return ".".join(selector.split(".")[-2:])  # gin refuses a method without its class
    return short


def constants(name: str) -> list[str]:
    """Returns the full names of the `gin.constant`s that `%name` may stand for."""
    return gin.config._CONSTANTS.matching_selectors(name)  # gin.query_parameter mixes them with bindings


def used() -> dict[tuple[str, str], dict[str, Any]]:
    """Returns what was used so far: (scope of the call, full selector) to parameter to value."""
    with gin.config._OPERATIVE_CONFIG_LOCK:  # gin.operative_config_str loses dict order and infinities
        return {key: dict(values) for key, values in gin.config._OPERATIVE_CONFIG.items()}


def is_reference(value: Any) -> bool:
    """Tells whether gin holds this value as a reference, a macro or a constant."""
    return isinstance(value, gin.config.ConfigurableReference)


@contextlib.contextmanager
def unlocked() -> Iterator[None]:
    """Unlocks gin's config for a while, and locks it again also after an exception.

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


def run_import(statement: gin.config_parser.ImportStatement) -> None:
    """Imports the module of an `import` line; its import may register configurables.

    `gin.parse_config` is not asked to: it raises a copy of the exception that has lost its attributes.
    """
    with unlocked():
        importlib.import_module(statement.module)


def feed(imports: Iterable[gin.config_parser.ImportStatement], lines: Iterable[str]) -> None:
    """Replaces gin's config by these imports and bindings, and locks it."""
    gin.clear_config()
    for statement in imports:
        gin.parse_config(statement.format())
    for line in lines:
        gin.parse_config(line)
    gin.finalize()
