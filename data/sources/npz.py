"""The source `npz`: arrays from a NumPy archive."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import gin
import numpy as np

from ...metrics.errors import UsageError
from ..checks import equal_length_arrays

# What NumPy and zipfile raise for a damaged archive, found by damaging one at every byte.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError)


@gin.register(module="tallyloop")
def npz(path: str | os.PathLike[str], keys: Sequence[str] | Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file, as `np.savez` writes it; pickled objects are never loaded.

    Args:
      path: the file.
      keys: the arrays to take; None takes all. A dict renames: `{"x": "x_train", "y": "y_train"}` gives the
        file's `x_train` as `x`.

    Returns:
      The arrays as they are stored, all of the same length.

    Raises:
      UsageError: the file is missing, damaged, or not a NumPy archive; a key is missing; an array holds Python
        objects; the lengths differ or are 0.
    """
    origin = f"npz: {os.fspath(path)!r}"
    try:
        with open(path, "rb") as file:
            arrays = _read(origin, file, keys)
    except OSError as error:
        raise UsageError(f"{origin} cannot be read ({error.strerror or error}); correct npz.path") from error
    return equal_length_arrays(origin, arrays)


def _read(origin: str, file: BinaryIO, keys: Sequence[str] | Mapping[str, str] | None) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise UsageError(
            f"{origin} isn't a complete .npz archive: expected a file written by np.savez; write or copy it again"
        )
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = _names(origin, keys, archive.files)
            return {name: _member(origin, archive, stored) for name, stored in names.items()}
    except UsageError:
        raise
    except _DAMAGE as error:
        raise UsageError(f"{origin} is damaged ({error}); write or copy it again") from error


def _names(origin: str, keys: Sequence[str] | Mapping[str, str] | None, stored: list[str]) -> Mapping[str, str]:
    """Return name in the batch -> name in the file."""
    if isinstance(keys, str):
        raise UsageError(f"npz.keys = {keys!r}: expected a list of names; write npz.keys = [{keys!r}]")
    names = keys if isinstance(keys, Mapping) else {key: key for key in (stored if keys is None else keys)}
    missing = sorted(set(names.values()) - set(stored))
    if missing:
        raise UsageError(f"{origin} has no array {missing}: expected some of {sorted(stored)}; change npz.keys")
    return names


def _member(origin: str, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UsageError(
            f"{origin}: {name!r} holds pickled Python objects, which could run any code when loaded: expected "
            "numbers, booleans or strings; save it with such a dtype"
        ) from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{origin}: {name!r} isn't an array: expected what np.savez writes; write it again")
    return array
