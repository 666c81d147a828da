"""Lists what can be configured."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Sequence

from . import engine, names
from .explanation import default_text
from .signatures import Parameter, signature

_OWN = "tallyloop."
_WIDTH = 100


def list_configurables() -> str:
    """Returns every configurable: Tallyloop's and the user's in full, then Keras's names by module."""
    own, users, keras = [], [], {}
    for selector, configurable in sorted(engine.configurables().items(), key=lambda item: names.short(item[0])):
        if selector.startswith("gin."):
            continue
        if selector.startswith(names.KERAS):
            keras.setdefault(selector.rpartition(".")[0], []).append(selector.rpartition(".")[2])
        else:
            is_own = (getattr(configurable.wrapped, "__module__", None) or "").startswith(_OWN)
            (own if is_own else users).append(configurable)
    parts = [_described("Tallyloop", own), _described("Yours", users), _compact(keras)]
    return "\n".join(part for part in parts if part)


def _described(title: str, configurables: Sequence[engine.Configurable]) -> str:
    if not configurables:
        return ""
    return f"{title}\n" + "".join(_entry(configurable) for configurable in configurables)


def _entry(configurable: engine.Configurable) -> str:
    takes = signature(configurable)
    parameters = [*map(_parameter, takes.parameters.values()), *(["**kwargs"] if takes.open else [])]
    head = f"{names.short(configurable.selector)}({', '.join(parameters)})"
    lines = textwrap.wrap(head, _WIDTH, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False)
    summary = (inspect.getdoc(configurable.wrapped) or "").partition("\n")[0]
    return "".join(f"{line}\n" for line in [*lines, *([f"    {summary}"] if summary else [])])


def _parameter(parameter: Parameter) -> str:
    return parameter.name if parameter.required else f"{parameter.name}={default_text(parameter.default)}"


def _compact(by_module: dict[str, Iterable[str]]) -> str:
    lines = []
    for module, classes in sorted(by_module.items()):
        lines.append(f"{module}")
        listed = ", ".join(sorted(classes))
        lines += textwrap.wrap(listed, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "".join(f"{line}\n" for line in lines)
