"""Reads config files and `--gin_param`s into bindings, in the order in which they apply."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from ...metrics.errors import UsageError
from . import engine
from .places import COMMAND_LINE, Place, shown
from .sources import find
from .syntax import PARSE_ERRORS, reason, statements
from .values import Delegate, Unparsed

_KEY = re.compile(r"([A-Za-z_]\w*/)*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclasses.dataclass(frozen=True)
class Written:
    """A binding as written: names are not looked up yet. A macro has an empty `param`."""

    scope: str
    selector: str
    param: str
    value: Any
    place: Place
    text: str | None = None
    """The right-hand side of a `--gin_param`, before parsing."""


class Reader:
    """Collects bindings and imports while files include each other."""

    def __init__(self, search_paths: Sequence[str]):
        self.written: list[Written] = []
        self.imports: list[config_parser.ImportStatement] = []
        self._search_paths = search_paths
        self._readings = 0

    def file(self, name: str, including: tuple[Path, ...] = (), at: str = "--gin_file") -> None:
        """Reads one file and what it includes, and runs its imports."""
        try:
            path = find(name, self._search_paths, including[-1].parent if including else None).resolve()
            if path in including:
                raise UsageError(f'"{name}" includes itself by way of {", ".join(map(shown, including))}')
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f'{at}: cannot read "{name}": {error}') from None
        except UsageError as error:
            raise UsageError(f"{at}: {error}") from None
        self._readings += 1
        reading = self._readings
        for statement in statements(text, shown(path)):
            place = Place(shown(path), statement.location.line_num, reading=reading)
            self._statement(statement, place, (*including, path))

    def _statement(self, statement: Any, place: Place, including: tuple[Path, ...]) -> None:
        if isinstance(statement, config_parser.BindingStatement):
            scope, selector, param, value, _ = statement
            self.written.append(Written(scope, selector, param, value, place))
        elif isinstance(statement, config_parser.IncludeStatement):
            self.file(statement.filename, including, at=str(place))
        elif isinstance(statement, config_parser.ImportStatement):
            self._import(statement, place)

    def _import(self, statement: config_parser.ImportStatement, place: Place) -> None:
        if statement.module.startswith("__gin__."):
            raise UsageError(
                f"{place}: Tallyloop does not support gin's dynamic registration: remove this line, and "
                "register with gin.register or gin.external_configurable in a module that the config imports"
            )
        try:
            engine.run_import(statement)
        except ModuleNotFoundError as error:
            if not f"{statement.module}.".startswith(f"{error.name}."):
                raise  # the module is there and fails by itself: its author needs the traceback
            raise UsageError(f"{place}: cannot import {statement.module}: no module {error.name}") from None
        self.imports.append(statement)


def read_param(param: str) -> Written:
    """Reads one `--gin_param`; what gin cannot parse is kept for `bare_words`.

    Raises:
        UsageError: it has no `=`, or the name before it cannot be one.
    """
    place = Place(COMMAND_LINE, param=param)
    key, equals, text = (part.strip() for part in param.partition("="))
    if not equals or not key:
        name = key if _KEY.fullmatch(key) else "Trainer.train_steps"
        raise UsageError(f"{place}: no value; write {COMMAND_LINE}={name}=VALUE")
    if not _KEY.fullmatch(key):
        raise UsageError(f'{place}: "{key}" is not a name; write {COMMAND_LINE}=scope/Name.parameter=VALUE')
    scope, selector, name = config_parser.parse_binding_key(key)
    return Written(scope, selector, name, _parse(text), place, text)


def _parse(text: str) -> Any:
    try:
        parser = config_parser.ConfigParser(f"value = {text}\n", Delegate())
        statement = parser.parse_statement()
        if parser.parse_statement() is None:
            return statement.value
        return Unparsed(text, "more than one line")
    except PARSE_ERRORS as error:
        return Unparsed(text, reason(error))
