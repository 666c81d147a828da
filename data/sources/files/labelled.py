"""The source `labelled_text`: texts of several classes, a folder for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import gin
import numpy as np

from ....metrics.errors import UsageError
from ...checks import one_of
from ..storage.rows import Split, checked, objects, split_rows

Unit = Literal["lines", "files"]


@gin.register(module="tallyloop")
def labelled_text(
    path: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    split: Split = "train",
    unit: Unit = "lines",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> LabelledText:
    """Return texts and the number of their class, by row number, or one part of a split of them.

    Args:
      path: a folder with a folder of UTF-8 files for each class, whose name is that of the class; or class -> folder. Folders in
        them are searched too; names that start with a dot or an underscore are passed over.
      split: "train", "test" or "all". The first two have no text in common within a class, and together are "all".
      unit: whether a text is a line, of which blank ones and repetitions within a class are left out, or a file.
      test_fraction: the fraction of each class that is "test", between 0 and 1; rounded, with at least one text on each side.
      seed: of the split, in [0, 2**32).

    Returns:
      Rows of `text`, a string, and `label`, int64: the place of the class among the sorted names, which are the attribute
      `classes`. All texts are in memory.

    Raises:
      UsageError: an argument is not as described, a folder has no texts, or a file isn't UTF-8.
    """
    kind = one_of("labelled_text.unit", unit, get_args(Unit))
    folders = dict(sorted(_folders(path).items()))
    found = [_texts(name, folder, kind) for name, folder in folders.items()]
    texts = [text for of_class in found for text in of_class]
    labels = np.repeat(np.arange(len(found)), [len(of_class) for of_class in found])
    rows = split_rows("labelled_text", labels, split, test_fraction, seed)
    return LabelledText([texts[row] for row in rows], labels[rows].tolist(), list(folders))


class LabelledText:
    """Texts and their labels, by row number.

    Args:
      texts: strings.
      labels: of the texts.
      classes: the names of the labels.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[int], classes: Sequence[str]):
        self._texts, self._labels = objects(list(texts)), np.array(labels, np.int64)
        self.classes: list[str] = list(classes)
        digest = hashlib.sha256("\0".join(texts).encode())
        digest.update(repr((self.classes, list(labels))).encode())
        self.fingerprint: str = f"{len(self._texts)} texts ({digest.hexdigest()[:16]})"

    def __len__(self) -> int:
        return len(self._texts)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the texts as `text`, and `label`."""
        rows = checked(rows, len(self))
        return {"text": self._texts[rows], "label": self._labels[rows]}


@gin.register(module="tallyloop")
def standard_packages(names: tuple[str, ...] = ("asyncio", "email")) -> dict[str, str]:
    """Return packages of Python's standard library and their folders: classes of text that are on every machine.

    Args:
      names: of packages.

    Raises:
      UsageError: the standard library has no such package.
    """
    library = Path(os.__file__).parent
    for name in names:
        if not (library / name / "__init__.py").is_file():
            raise UsageError(
                f"standard_packages.names: {name!r}: expected packages of the standard library, such as 'asyncio' or 'email'"
            )
    return {name: str(library / name) for name in names}


def _folders(path: Any) -> dict[str, Path]:
    if isinstance(path, Mapping):
        found = {str(name): Path(folder) for name, folder in path.items()}
    elif isinstance(path, str | os.PathLike):
        place = Path(path)
        if not place.is_dir():
            raise UsageError(
                f"labelled_text.path = {os.fspath(path)!r}: expected a folder with a folder for each class, got "
                + ("a file" if place.exists() else "a path that isn't there")
            )
        found = {each.name: each for each in place.iterdir() if each.is_dir() and not each.name.startswith((".", "_"))}
    else:
        raise UsageError(f"labelled_text.path = {path!r}: expected a folder, or a dict class -> folder")
    if missing := [folder for folder in found.values() if not folder.is_dir()]:
        raise UsageError(f"labelled_text.path: {str(missing[0])!r}: expected a folder, which isn't there")
    if len(found) < 2:
        raise UsageError(
            f"labelled_text.path = {path!r}: expected at least two folders, one for each class, got {sorted(found) or 'none'}"
        )
    return found


def _texts(name: str, folder: Path, kind: Unit) -> list[str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and _is_shown(file.relative_to(folder))]
    contents = [_content(file) for file in files]
    if kind == "files":
        found = contents
    else:
        lines = (line.strip() for content in contents for line in content.splitlines())
        found = list(dict.fromkeys(line for line in lines if line))
    if len(found) < 2:
        raise UsageError(
            f"labelled_text: {str(folder)!r}: expected at least two {kind} of the class {name!r}, got {len(found)}"
        )
    return found


def _is_shown(file: Path) -> bool:
    return not any(part.startswith((".", "__pycache__")) for part in file.parts)


def _content(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"labelled_text: {str(file)!r} cannot be read ({error.strerror or error}); correct it"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"labelled_text: {file}:{line} isn't UTF-8 ({error.reason}): expected UTF-8; convert or remove the file"
        ) from error
