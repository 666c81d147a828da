"""Looks up the names in what was read, and says which of them mean nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...metrics.errors import UsageError
from . import bare_words, engine, names
from .config import Binding
from .near import did_you_mean
from .reading import Written
from .signatures import Parameter, Signature, signature
from .values import Macro, Ref, replace


class Lookup:
    """Turns what was written into bindings, and collects problems and warnings on the way."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._reported: set[tuple[str, str]] = set()

    def bindings(self, written: Iterable[Written]) -> list[Binding]:
        """Returns the bindings whose names all mean something."""
        found = []
        for item in written:
            try:
                found.append(self._binding(item, len(found)))
            except UsageError as error:
                self._report(item, str(error))
        return found

    def _report(self, item: Written, problem: str) -> None:
        """Keeps a problem; the lines of a block all have its problem, and it is told once."""
        if (item.place.source, problem) not in self._reported:
            self._reported.add((item.place.source, problem))
            self.problems.append(f"{item.place}: {problem}")

    def _binding(self, item: Written, index: int) -> Binding:
        if not item.param:
            scope = f"{item.scope}/{item.selector}" if item.scope else item.selector
            selector, param, parameter = engine.MACRO, "value", Parameter("value")
        else:
            scope, selector, param = item.scope, names.resolve(item.selector), item.param
            parameter = self._parameter(item, selector)
        value = item.value
        if item.text is not None:
            value = bare_words.value_of(names.key(scope, selector, param), value, item.text, parameter)
        return Binding(scope, selector, param, replace(value, _resolve_leaf), item.place, index)

    def _parameter(self, item: Written, selector: str) -> Parameter:
        configurable = engine.configurables()[selector]
        takes = signature(configurable)
        if item.param in takes.parameters:
            return takes.get(item.param)
        if item.param not in takes or _is_refused(configurable, item.param):
            raise UsageError(no_such_parameter(configurable, item.param, takes))
        near = did_you_mean(item.param, takes.parameters)
        if near and item.param not in takes.undeclared:
            self.warnings.append(
                f'{item.place}: {names.short(selector)} names no parameter "{item.param}" and takes it in '
                f"**kwargs{near}"
            )
        return takes.get(item.param)


def _is_refused(configurable: engine.Configurable, param: str) -> bool:
    listed = not configurable.allowlist or param in configurable.allowlist
    return not listed or param in (configurable.denylist or ())


def no_such_parameter(configurable: engine.Configurable, param: str, takes: Signature) -> str:
    """Returns what to say about a parameter that a config cannot bind."""
    name = names.short(configurable.selector)
    if signature(configurable._replace(allowlist=None, denylist=None)).parameters.get(param):
        return f'"{param}" of {name} is not for a config: code gives it. {_list(takes)}'
    return f'{name} has no parameter "{param}"{did_you_mean(param, takes.parameters) or "."} {_list(takes)}'


def _list(takes: Signature) -> str:
    return f"Its parameters: {', '.join(takes.parameters) or 'none'}"


def _resolve_leaf(leaf: Any) -> Any:
    """Gives a reference its full selector; `@name/macro()` is `%name`, as in gin."""
    if not isinstance(leaf, Ref):
        return leaf
    selector = names.resolve(leaf.selector)
    if selector in (engine.MACRO, engine.CONSTANT) and leaf.evaluate:
        return Macro(leaf.scope)
    return Ref(leaf.scope, selector, leaf.evaluate)
