"""Memory-mapped arrays in `.npy` files, of which several may be the shards of one key."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ....metrics.errors import UsageError
from .files import fingerprint
from .rows import checked

_KINDS = "biufcSU"  # what TensorFlow takes: booleans, numbers and strings


class MappedArrays:
    """The rows of memory-mapped arrays: only those that are asked for are read.

    Args:
      shards: key -> its `.npy` files, in order; all keys have the same number of rows.

    Raises:
      UsageError: a file cannot be read, is damaged or isn't an array of numbers, booleans or strings, rows first; or shards
        don't fit together.
    """

    def __init__(self, shards: Mapping[str, Sequence[Path]]):
        self._shards = {key: [path.absolute() for path in paths] for key, paths in shards.items()}
        self._columns = {key: _Column(key, paths) for key, paths in self._shards.items()}
        lengths = {key: len(column) for key, column in self._columns.items()}
        if len(set(lengths.values())) != 1:
            raise UsageError(
                f"npy: arrays have different lengths {lengths}: expected the same number of rows for each key"
            )
        (self._length,) = set(lengths.values())
        if self._length == 0:
            raise UsageError(f"npy: {str(next(iter(self._shards.values()))[0])!r} has no rows: expected at least one")
        self.fingerprint: str = fingerprint(
            [path for paths in self._shards.values() for path in paths], sorted(self._shards)
        )

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows, copied from the files, by key."""
        rows = checked(rows, self._length)
        return {key: column.gather(rows) for key, column in self._columns.items()}

    def __reduce__(self) -> tuple[type[MappedArrays], tuple[Mapping[str, Sequence[Path]]]]:
        return MappedArrays, (self._shards,)  # another process maps the files itself


class _Column:
    """The rows of one key."""

    def __init__(self, key: str, paths: Sequence[Path]):
        self._maps = [map_array(path) for path in paths]
        kinds = {(array.dtype, array.shape[1:]): path for array, path in zip(self._maps, paths, strict=True)}
        if len(kinds) > 1:
            (a, first), (b, second) = list(kinds.items())[:2]
            raise UsageError(
                f"npy: shards of {key!r} differ: {str(first)!r} has rows of {a[0]} {a[1]}, {str(second)!r} of {b[0]} {b[1]}: "
                "expected the same dtype and shape"
            )
        self._ends = np.cumsum([len(array) for array in self._maps])
        self._native = self._maps[0].dtype.newbyteorder("=")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def gather(self, rows: np.ndarray) -> np.ndarray:
        if len(self._maps) == 1:
            return np.take(self._maps[0], rows, axis=0).astype(self._native, copy=False)
        found = np.empty((len(rows), *self._maps[0].shape[1:]), self._native)
        places = np.searchsorted(self._ends, rows, side="right")
        for place in np.unique(places):
            here = np.flatnonzero(places == place)
            array = self._maps[place]
            found[here] = array[rows[here] - (self._ends[place] - len(array))]
        return found


def map_array(path: Path) -> np.ndarray:
    """Return the array in a `.npy` file, memory-mapped for reading.

    Raises:
      UsageError: it cannot be read, is damaged, or its rows aren't numbers, booleans or strings, one after the other.
    """
    origin = f"npy: {os.fspath(path)!r}"
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        too_many = error.errno == errno.EMFILE
        fix = "raise the limit (ulimit -n), or write fewer and larger shards" if too_many else "correct npy.path"
        raise UsageError(f"{origin} cannot be read ({error.strerror or error}); {fix}") from error
    except Exception as error:  # a damaged header makes NumPy raise nearly anything
        raise UsageError(_what_is_wrong(origin, error)) from error
    _check(origin, mapped, os.stat(path).st_size)
    return mapped.view(np.ndarray)


def _what_is_wrong(origin: str, error: Exception) -> str:
    if "Python objects" in str(error):
        return (
            f"{origin} has dtype object, which holds Python objects: expected numbers, booleans or strings; save it with "
            "such a dtype"
        )
    return f"{origin} is damaged, truncated or no .npy file ({error}): expected what np.save writes; write or copy it again"


def _check(origin: str, mapped: np.memmap, size: int) -> None:
    if mapped.dtype.kind not in _KINDS:
        raise UsageError(f"{origin} has dtype {mapped.dtype}: expected numbers, booleans or strings; convert it")
    if mapped.ndim == 0:
        raise UsageError(f"{origin} is a single value: expected an array with one row per example")
    if not mapped.flags.c_contiguous:
        raise UsageError(
            f"{origin} is in Fortran order, where each row is scattered over the whole file: expected C order; save "
            "np.ascontiguousarray(array)"
        )
    expected = int(mapped.offset) + mapped.nbytes
    if size != expected:
        raise UsageError(
            f"{origin} has {size} bytes: expected {expected}, as its header says {mapped.shape} of {mapped.dtype}; write or "
            "copy it again"
        )
