"""The bindings of a config as hyperparameters: what is compared between runs."""

from __future__ import annotations

from typing import Any

from . import engine, names
from .config import COMMAND_LINE, Binding, Config
from .signatures import signature
from .syntax import Ref, render
from .usage import taken


def hparams(config: Config) -> dict[str, bool | int | float | str]:
    """Return the bindings that tell this run from others.

    What a file binds to its default is left out, unless it is a number: of several runs with other numbers, the one with the
    default would otherwise have none. What was given on the command line is never left out.

    Args:
      config: the loaded config, after everything has been built and traced.

    Returns:
      Binding -> value of all that the run uses, sorted by name, with macros replaced by their values. Of a reference it is the
      name; of what else isn't a number, a string or a bool, the text of the config.
    """
    found = {binding.name: (binding, config.resolved(binding.value)) for binding in taken(config)}
    return {name: _plain(value) for name, (binding, value) in sorted(found.items()) if _tells(binding, value)}


def _tells(binding: Binding, value: Any) -> bool:
    if binding.location.source == COMMAND_LINE or (isinstance(value, int | float) and not isinstance(value, bool)):
        return True
    default = signature(engine.configurables()[binding.selector]).get(binding.param).default
    same_type = isinstance(value, bool) == isinstance(default, bool)
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) != list(default)
    return not (same_type and value == default)


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, Ref):  # as of an object that a run in Python is given
        return names.scoped(value.scope, value.selector)
    return value if isinstance(value, bool | int | float | str) else render(value, names.short)
