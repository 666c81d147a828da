"""The source `npz`: arrays from a NumPy archive."""

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import gin
import numpy as np

from ...metrics.errors import UsageError
from ..checks import equal_length_arrays

# What NumPy and zipfile raise on a damaged archive, found by damaging one at every byte.
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError)


@gin.register(module="tallyloop")
def npz(path: str | os.PathLike[str], keys: Sequence[str] | Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, as `np.savez` writes it; pickled objects are never loaded.

    Args:
      path: the file.
      keys: the arrays to take, all by default. A dict renames: `{"x": "x_train", "y": "y_train"}` gives the
        file's `x_train` as `x`.

    Returns:
      The arrays as they were stored, of one length.

    Raises:
      UsageError: the file is absent, no NumPy archive, or damaged; a key is missing; an array holds Python
        objects; the lengths differ or are 0.
    """
    origin = f"npz: {os.fspath(path)!r}"
    try:
        with open(path, "rb") as file:
            arrays = _read(origin, file, keys)
    except OSError as error:
        raise UsageError(f"{origin} cannot be read ({error.strerror or error}); correct npz.path") from error
    return equal_length_arrays(origin, arrays)


def _read(origin: str, file, keys: Sequence[str] | Mapping[str, str] | None) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(file):
        raise UsageError(
            f"{origin} is no .npz archive, or only the beginning of one: want a file written by np.savez; "
            "write or copy it again"
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
    """name in the batch -> name in the file."""
    if isinstance(keys, str):
        raise UsageError(f"npz.keys = {keys!r}: want a list of names; write npz.keys = [{keys!r}]")
    wanted = {key: key for key in (stored if keys is None else keys)} if not isinstance(keys, Mapping) else keys
    missing = sorted(set(wanted.values()) - set(stored))
    if missing:
        raise UsageError(f"{origin} has no array {missing}: it has {sorted(stored)}; change npz.keys")
    return wanted


def _member(origin: str, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UsageError(
            f"{origin}: {name!r} holds pickled Python objects, which could run any code when loaded: want "
            "numbers, booleans or strings; save it with such a dtype"
        ) from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{origin}: {name!r} is not an array: want what np.savez writes; write it again")
    return array
