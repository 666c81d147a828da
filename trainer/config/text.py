"""Writes a config as text that `load` reads back, and compares two such texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gin import config_parser

from ...metrics.errors import UsageError
from . import engine, names
from .config import Config, Key
from .references import entered_scopes, is_entered
from .signatures import signature
from .syntax import Macro, Ref, leaves, parse_value, render, replace, statements


def as_given(config: Config) -> str:
    """Return the effective bindings, sorted by name, after the imports and the macros."""
    return _write(config, {binding.key: binding.value for binding in config.effective.values()})


def operative(config: Config) -> str:
    """Return what the calls so far have used, defaults included.

    What no reference in the text leads to, a scope that only code enters, becomes a comment, so that the text loads.
    """
    chosen: dict[Key, Any] = {}
    for (scope, selector), parameters in engine.used().items():
        if selector in (engine.MACRO, engine.CONSTANT):
            continue
        takes = signature(engine.configurables()[selector])
        for param, value in parameters.items():
            if param in takes:
                chosen[scope, selector, param] = _from_gin(value)
    return _write(config, chosen | _macros_in(chosen.values(), config))


def _from_gin(value: Any) -> Any:
    """Turn a value that gin holds into one of ours, with full selectors."""

    def change(leaf: Any) -> Any:
        if engine.is_reference(leaf):
            leaf = parse_value(repr(leaf))
        return Ref(leaf.scope, names.resolve(leaf.selector), leaf.evaluate) if isinstance(leaf, Ref) else leaf

    return replace(value, change)


def _macros_in(values: Iterable[Any], config: Config) -> dict[Key, Any]:
    """Return the macros that values use, and those that these use in turn."""
    found: dict[Key, Any] = {}
    pending = list(values)
    while pending:
        for leaf in leaves(pending.pop()):
            binding = config.macro(leaf.name) if isinstance(leaf, Macro) else None
            if binding and binding.key not in found:
                found[binding.key] = binding.value
                pending.append(binding.value)
    return found


def _write(config: Config, chosen: dict[Key, Any]) -> str:
    entered = entered_scopes(chosen.values())
    macros, bindings = [], []
    for key, value in chosen.items():
        line = f"{names.key(*key)} = {render(value, names.short)}"
        if key[1] == engine.MACRO:
            macros.append((key[0].lower(), line))
        elif is_entered(key[0], entered):
            bindings.append((_order(*key), line))
        else:
            bindings.append((_order(*key), "# " + line.replace("\n", "\n# ")))
    imports = [("", statement.format()) for statement in config.imports]
    parts = [_part("Imports", imports), _part("Macros", sorted(macros)), _part("Bindings", sorted(bindings))]
    return "\n".join(part for part in parts if part)


def _order(scope: str, selector: str, param: str) -> tuple[str, str, str]:
    return names.short(selector).lower(), scope.lower(), param


def _part(title: str, lines: list[tuple[Any, str]]) -> str:
    return f"# {title}\n" + "".join(f"{line}\n" for _, line in lines) if lines else ""


def diff(old_text: str, new_text: str) -> list[str]:
    """Return what changed from one config text to another.

    Returns:
      Lines such as `Trainer.train_steps: 500 -> 1000`, `Trainer.seed: added, 3` and `Trainer.seed: removed, was 3`, sorted
      by name.

    Raises:
      UsageError: one of the texts is not a config.
    """
    old, new = _contents(old_text, "the previous config"), _contents(new_text, "the new config")
    lines = []
    for name in sorted({**old, **new}, key=str.lower):
        if name not in old:
            lines.append(f"{name}: added{new[name] and ', ' + new[name]}")
        elif name not in new:
            lines.append(f"{name}: removed{old[name] and ', was ' + old[name]}")
        elif old[name] != new[name]:
            lines.append(f"{name}: {old[name]} -> {new[name]}")
    return lines


def _contents(text: str, source: str) -> dict[str, str]:
    found = {}
    for statement in statements(text, source):
        if isinstance(statement, config_parser.ImportStatement):
            found[statement.format()] = ""
        elif isinstance(statement, config_parser.BindingStatement):
            scope = f"{statement.scope}/" if statement.scope else ""
            param = f".{statement.arg_name}" if statement.arg_name else ""
            selector = _current_short(statement.selector) if param else statement.selector  # else a macro
            found[f"{scope}{selector}{param}"] = render(statement.value, _current_short)
    return found


def _current_short(selector: str) -> str:
    """Return today's short name: which name is short enough depends on what is registered."""
    try:
        return names.short(names.resolve(selector))
    except UsageError:  # it was registered when the text was written, and is not any more
        return selector
