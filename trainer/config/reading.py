"""Finds config files, and reads them and `--gin_param`s into bindings, in the order in which they apply."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from ...metrics.errors import UsageError, did_you_mean
from . import engine
from .config import COMMAND_LINE, Location
from .ranges import BadRangeError
from .syntax import Statement, parse_right_hand_side, statements

BUNDLED = Path(__file__).parents[2] / "gin"

_KEY = re.compile(r"([A-Za-z_]\w*/)*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclasses.dataclass(frozen=True)
class Written:
    """A binding as written: names are not looked up yet. For a macro, `param` is empty."""

    scope: str
    selector: str
    param: str
    value: Any
    location: Location
    text: str | None = None
    """The right-hand side of a `--gin_param`, before parsing."""


class Reader:
    """Collects bindings and imports while files include each other.

    Args:
      search_paths: folders searched for config files, after the working folder and before the bundled configs.
      runs_imports: whether `import` lines are run. Without, the bindings can be read in milliseconds, and not be looked up.
    """

    def __init__(self, search_paths: Sequence[str], runs_imports: bool = True):
        self.written: list[Written] = []
        self.imports: list[config_parser.ImportStatement] = []
        self._search_paths = search_paths
        self._runs_imports = runs_imports
        self._readings = 0

    def file(self, name: str) -> None:
        """Read one file and the files it includes, and run its imports.

        Raises:
          UsageError: a file is missing, unreadable or has a syntax error, or an import does not exist.
        """
        self._file(name, (), "--gin_file")

    def _file(self, name: str, including: tuple[Path, ...], at: str) -> None:
        path, text = self._text(name, including, at)
        self._readings += 1
        reading = self._readings
        for statement in statements(text, _shown(path)):
            location = Location(_shown(path), statement.location.line_num, reading=reading)
            self._statement(statement, location, (*including, path))

    def _text(self, name: str, including: tuple[Path, ...], at: str) -> tuple[Path, str]:
        try:
            path = find(name, self._search_paths, including[-1].parent if including else None).resolve()
            if path in including:
                raise UsageError(f'"{name}" includes itself through {", ".join(map(_shown, including))}')
            return path, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f'{at}: cannot read "{name}": {error}') from None
        except UsageError as error:
            raise UsageError(f"{at}: {error}") from None

    def _statement(self, statement: Statement, location: Location, including: tuple[Path, ...]) -> None:
        if isinstance(statement, config_parser.BindingStatement):
            scope, selector, param, value, _ = statement
            self.written.append(Written(scope, selector, param, value, location))
        elif isinstance(statement, config_parser.IncludeStatement):
            self._file(statement.filename, including, str(location))
        elif isinstance(statement, config_parser.ImportStatement) and self._runs_imports:
            self._import(statement, location)

    def _import(self, statement: config_parser.ImportStatement, location: Location) -> None:
        if statement.module.startswith("__gin__."):
            raise UsageError(
                f"{location}: Tallyloop does not support gin's dynamic registration. Remove this line, and register "
                "with gin.register or gin.external_configurable in a module that the config imports."
            )
        try:
            engine.run_import(statement)
        except ModuleNotFoundError as error:
            if not f"{statement.module}.".startswith(f"{error.name}."):
                raise  # the module exists, and its own import fails: its author needs the traceback
            raise UsageError(f"{location}: cannot import {statement.module}: no module {error.name}") from None
        self.imports.append(statement)


def read_param(param: str) -> Written:
    """Read one `--gin_param`; the value is `Unparsed` if gin cannot parse it.

    Raises:
      UsageError: it has no `=`, what precedes it is not a name, or a range in it is not one.
    """
    location = Location(COMMAND_LINE, param=param)
    key, equals, text = (part.strip() for part in param.partition("="))
    if not equals or not key:
        name = key if _KEY.fullmatch(key) else "Trainer.train_steps"
        raise UsageError(f"{location}: expected NAME=VALUE; write {COMMAND_LINE}={name}=VALUE")
    if not _KEY.fullmatch(key):
        raise UsageError(f'{location}: "{key}" is not a name; write {COMMAND_LINE}=scope/Name.parameter=VALUE')
    scope, selector, name = config_parser.parse_binding_key(key)
    try:
        return Written(scope, selector, name, parse_right_hand_side(text), location, text)
    except BadRangeError as error:
        raise UsageError(f"{location}: the range cannot be read: {error}") from None


def find(name: str, search_paths: Sequence[str], beside: Path | None = None) -> Path:
    """Return the path of a config file.

    Args:
      name: an absolute path, or one relative to the first of these folders that has the file.
      search_paths: folders searched after the working folder and before the bundled configs.
      beside: the folder of the file that includes `name`, searched first.

    Raises:
      UsageError: no folder has it; the message lists the folders searched.
    """
    folders = _folders(name, search_paths, beside)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UsageError(_not_found(name, folders))


def _folders(name: str, search_paths: Sequence[str], beside: Path | None) -> list[Path]:
    if Path(name).is_absolute():
        return [Path(name).parent]
    folders = [beside] if beside else []
    folders += [Path.cwd(), *map(Path, search_paths), BUNDLED]
    return list(dict.fromkeys(folder.absolute() for folder in folders))


def _not_found(name: str, folders: Sequence[Path]) -> str:
    below = Path() if Path(name).is_absolute() else Path(name).parent
    known = {str(below / path.name) for folder in folders for path in (folder / below).glob("*.gin")}
    known |= {path.name for folder in folders for path in folder.glob("*.gin")}
    typed = Path(name).name if Path(name).is_absolute() else name
    searched = ", ".join(map(str, folders))
    return f'no config file "{name}"{did_you_mean(typed, known) or "."} Searched {searched}'


def _shown(path: Path) -> str:
    """Return the path relative to the working folder if it is below that, else the absolute path."""
    path = Path(os.path.abspath(path))
    folder = Path.cwd()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
