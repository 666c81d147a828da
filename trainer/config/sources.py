"""Finds config files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...metrics.errors import UsageError
from .near import did_you_mean

BUNDLED = Path(__file__).parents[2] / "gin"


def find(name: str, search_paths: Sequence[str], beside: Path | None = None) -> Path:
    """Returns the config file that `name` means.

    Args:
        name: a path: as given when absolute, else below the first folder that has it.
        search_paths: folders searched after the working folder and before the bundled configs.
        beside: the folder of the file that includes `name`, searched first.

    Raises:
        UsageError: no folder has it; the message lists the folders searched.
    """
    for folder in _folders(name, search_paths, beside):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(_not_found(name, _folders(name, search_paths, beside)))


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
    wanted = Path(name).name if Path(name).is_absolute() else name
    searched = ", ".join(map(str, folders))
    return f'no config file "{name}"{did_you_mean(wanted, known) or "."} Searched {searched}'
