"""The source `images`: encoded image files with their labels."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gin
import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import Split, checked, objects, split_rows

# The formats of tf.io.decode_image, by their first bytes.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")


class _Listing(NamedTuple):
    files: list[str]
    labels: np.ndarray
    classes: list[str]


@gin.register(module="tallyloop")
def images(
    path: str | os.PathLike[str],
    table: str | os.PathLike[str] | None = None,
    split: Split = "all",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> ImageFiles:
    """Return the JPEG, PNG, GIF and BMP files of a folder with their labels, by row number, still encoded.

    Bind `Input.map_fn = @decode_image()` to decode them, in parallel.

    Args:
      path: a folder with a folder of images for each class. Classes are numbered from 0 by name; names that start with a dot
        are passed over.
      table: a CSV file with the columns `file`, relative to `path`, and `label`, which gives labels in place of folders, in its
        order. Labels that are all whole numbers are kept; others are classes, numbered from 0 by name.
      split: "train" or "test" for one part of a stratified split, whose parts have no image in common.
      test_fraction: the fraction of each class that is "test", between 0 and 1; rounded, and at least one image.
      seed: the seed of the split.

    Returns:
      Rows of `image`, the bytes of a file, and `label`, int64. The attribute `classes` has the names.

    Raises:
      UsageError: nothing is there, a file isn't an image, or the table or the split isn't as described.
    """
    place = Path(path)
    if not place.is_dir():
        raise UsageError(f"images.path = {os.fspath(path)!r}: expected a folder, which isn't there")
    listing = _by_folder(place) if table is None else _by_table(place, os.fspath(table))
    rows = split_rows("images", listing.labels, split, test_fraction, seed)
    files = [listing.files[row] for row in rows]
    return ImageFiles(os.path.abspath(place), files, listing.labels[rows], listing.classes)


class ImageFiles:
    """Files and their labels, by row number.

    Args:
      folder: what the files are relative to.
      files: the files.
      labels: of the files; int64.
      classes: the names of the labels; empty for labels without names.

    Attributes:
      fingerprint: what is the same for the same files, also for a copy: names, sizes (4 s for a million files), labels.
    """

    def __init__(self, folder: str, files: Sequence[str], labels: np.ndarray, classes: Sequence[str]):
        self._folder, self._files, self._labels = folder, list(files), labels
        self.classes: list[str] = list(classes)
        digest = hashlib.sha256(repr((self._files, self.classes)).encode())
        digest.update(np.ascontiguousarray(labels).data)
        digest.update(np.array([_size(self._path(row)) for row in range(len(self))], np.int64).data)
        self.fingerprint: str = f"{len(self._files)} images ({digest.hexdigest()[:16]})"

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the content of the files as `image`, and `label`."""
        rows = checked(rows, len(self))
        contents = [_content(self._path(row)) for row in rows.tolist()]
        return {"image": objects(contents), "label": self._labels[rows]}

    def named(self, row: int) -> str:
        """Return what an error calls a row."""
        return f"row {row}, {self._path(row)!r}"

    def _path(self, row: int) -> str:
        return os.path.join(self._folder, self._files[row])


def _size(file: str) -> int:
    """Return the bytes of a file; -1 if it is gone, which an error tells when it is read."""
    try:
        return os.stat(file).st_size
    except OSError:
        return -1


def _content(file: str) -> bytes:
    try:
        with open(file, "rb", buffering=0) as opened:
            content = opened.read()
    except OSError as error:
        raise UsageError(f"images: {file!r} cannot be read ({error.strerror or error}); correct images.path") from error
    if not content.startswith(_BEGINNINGS):
        raise UsageError(
            f"images: {file!r} starts with {content[:4].hex(' ') or 'nothing'}: expected a JPEG, PNG, GIF or BMP file; convert "
            "or remove it"
        )
    return content


def _by_folder(place: Path) -> _Listing:
    classes = sorted(each.name for each in place.iterdir() if each.is_dir() and not each.name.startswith("."))
    found = [(file, label) for label, name in enumerate(classes) for file in _files(place, name)]
    if not found:
        raise UsageError(
            f"images: {str(place)!r} has no images in folders: expected one folder per class; or bind images.table"
        )
    files, labels = zip(*found, strict=True)
    return _Listing(list(files), np.array(labels, np.int64), classes)


def _files(place: Path, name: str) -> list[str]:
    found = sorted(file.relative_to(place).as_posix() for file in (place / name).rglob("*") if file.is_file())
    shown = [file for file in found if not any(part.startswith(".") for part in file.split("/"))]
    others = [file for file in shown if not file.lower().endswith(_ENDINGS)]
    if others or not shown:
        got = f"got {str(place / others[0])!r}" if others else f"got none in {str(place / name)!r}"
        raise UsageError(f"images: expected files that end in {', '.join(_ENDINGS)}, {got}; move or remove it")
    return shown


def _by_table(place: Path, table: str) -> _Listing:
    try:
        with open(table, encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened)
            found = [(row.get("file"), row.get("label"), reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"images.table = {table!r} cannot be read as CSV ({error}); correct it") from error
    if not found:
        raise UsageError(f"images: {table!r} has no rows: expected the columns file and label, and at least one row")
    for file, label, line in found:
        if not file or not label:
            raise UsageError(f"images: {table}:{line}: expected the columns file and label, got {file!r} and {label!r}")
        if not (place / file).is_file():
            raise UsageError(
                f"images: {table}:{line}: expected a file below {str(place)!r}, got {file!r}, which isn't there"
            )
    files, labels, _ = zip(*found, strict=True)
    try:
        return _Listing(list(files), np.array([int(label) for label in labels], np.int64), [])
    except ValueError:
        classes, numbers = np.unique(labels, return_inverse=True)
        return _Listing(list(files), numbers.astype(np.int64), classes.tolist())
