"""Writes configs as text that `load` reads back, and compares two such texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gin import config_parser

from ...metrics.errors import UsageError
from . import engine, names, values
from .scopes import entered, is_entered
from .signatures import signature
from .syntax import statements
from .values import Macro, leaves, render

if TYPE_CHECKING:
    from .config import Config, Key


def as_given(config: Config) -> str:
    """Returns the effective bindings, sorted by name, after the imports and the macros."""
    chosen = {binding.key: binding.value for binding in config.effective.values()}
    return _write(config, chosen)


def operative(config: Config) -> str:
    """Returns what the calls so far have used, defaults included.

    What only code can bring about stands in a comment, so that the text loads: a scope entered neither by a
    reference in the text nor by `config.scopes`.
    """
    chosen: dict[Key, Any] = {}
    for (scope, selector), parameters in engine.used().items():
        if selector in (engine.MACRO, engine.CONSTANT):
            continue
        takes = signature(engine.configurables()[selector])
        for param, value in parameters.items():
            if param in takes:
                chosen[scope, selector, param] = _resolved_names(values.from_gin(value))
    return _write(config, chosen | _macros_in(chosen.values(), config))


def _resolved_names(value: Any) -> Any:
    def change(leaf: Any) -> Any:
        return values.Ref(leaf.scope, names.resolve(leaf.selector), leaf.evaluate) if _is_ref(leaf) else leaf

    return values.replace(value, change)


def _is_ref(leaf: Any) -> bool:
    return isinstance(leaf, values.Ref)


def _macros_in(chosen: Iterable[Any], config: Config) -> dict[Key, Any]:
    """Returns the macros that values need, and those that these need."""
    found: dict[Key, Any] = {}
    pending = list(chosen)
    while pending:
        for leaf in leaves(pending.pop()):
            if not isinstance(leaf, Macro):
                continue
            binding = config.effective.get((leaf.name, engine.MACRO, "value"))
            if binding and binding.key not in found:
                found[binding.key] = binding.value
                pending.append(binding.value)
    return found


def _write(config: Config, chosen: dict[Key, Any]) -> str:
    known = entered(chosen.values())
    macros, bindings = [], []
    for key, value in chosen.items():
        line = f"{names.key(*key)} = {render(value, names.short)}"
        if key[1] == engine.MACRO:
            macros.append((key[0].lower(), line))
        elif is_entered(key[0], known, config.scopes):
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
    """Returns what changed from one config text to another.

    Returns:
        Lines such as `Trainer.train_steps: 500 -> 1000`, `Trainer.seed: added, 3` and
        `Trainer.seed: removed, was 3`, sorted by name.

    Raises:
        UsageError: one of the texts is not a config.
    """
    old, new = _contents(old_text, "the earlier config"), _contents(new_text, "the new config")
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
            found[f"{scope}{_settled(statement.selector, bool(param))}{param}"] = render(statement.value, _settled)
    return found


def _settled(selector: str, is_configurable: bool = True) -> str:
    """Returns today's short name: which name is short enough depends on what is registered."""
    if not is_configurable:
        return selector
    try:
        return names.short(names.resolve(selector))
    except UsageError:  # it was registered when the text was written, and is no more
        return selector
