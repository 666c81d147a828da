"""What a source that is read by row number offers, whatever its class.

Without TensorFlow, which the processes that read rows do not load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.errors import DataError, UsageError

if TYPE_CHECKING:
    import tensorflow as tf

    from ..elements import Nest

_ORIGIN = "the source of Input"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source as the feed reads it.

    Attributes:
      length: the number of rows.
      gather: row numbers, int64 (k,) -> their examples, stacked: a nest of arrays (k, ...).
      fingerprint: what must be the same on a rerun, besides the length; empty if the source does not tell.
    """

    length: int
    gather: Callable[[np.ndarray], Nest]
    fingerprint: str = ""

    def examples(self, rows: np.ndarray) -> Nest:
        """Return the examples of these rows, stacked.

        Raises:
          DataError: one of them cannot be read. The message names its row.
        """
        try:
            return self.gather(rows)
        except Exception as error:
            raise DataError(self._named(rows, error)) from error

    def _named(self, rows: np.ndarray, error: Exception) -> str:
        for row in rows.tolist():
            try:
                self.gather(np.array([row]))
            except Exception as one:
                return f"{_ORIGIN}, row {row}: {type(one).__name__}: {one}"
        return f"{_ORIGIN}, rows {rows.tolist()[:8]}, each of which can be read alone: {type(error).__name__}: {error}"


def as_rows(source: Any) -> Rows | None:
    """Return a source that has `__len__` and `__getitem__` or `__getitems__` as `Rows`; None for any other.

    A dict is taken for one only if it holds memory-mapped arrays, which would be copied into memory otherwise.

    Raises:
      UsageError: its length or first row cannot be read, or its memory-mapped arrays differ in length.
    """
    if isinstance(source, Mapping):
        return _of_memory_maps(source) if any(isinstance(each, np.memmap) for each in source.values()) else None
    if not is_by_number(source):
        return None
    gather = _AtOnce if hasattr(source, "__getitems__") else _OneByOne
    found = Rows(
        len(source), gather(source), str(getattr(source, "fingerprint", "") or getattr(source, "_fingerprint", ""))
    )
    if not found.length:
        raise UsageError(
            f"{_ORIGIN} has no examples: expected at least one row, got a {type(source).__name__} of length 0"
        )
    return found


def is_by_number(source: Any) -> bool:
    """Return whether an object has a length and rows, and is neither a dict, a tuple nor an array."""
    if isinstance(source, type | tuple | np.ndarray | str | bytes) or type(source).__module__.startswith("tensorflow."):
        return False
    return hasattr(source, "__len__") and (hasattr(source, "__getitem__") or hasattr(source, "__getitems__"))


def of_arrays(arrays: Mapping[str, np.ndarray]) -> Rows:
    """Return arrays of equal length as `Rows`."""
    return Rows(len(next(iter(arrays.values()))), _OfArrays(arrays))


def element_spec(rows: Rows) -> Nest:
    """Return a nest of `tf.TensorSpec` of a single example, by reading the first row.

    Raises:
      UsageError: it is not a nest of numbers, booleans or strings.
    """
    import tensorflow as tf

    try:
        first = rows.gather(np.zeros(1, np.int64))
        return tf.nest.map_structure(lambda array: tf.TensorSpec(array.shape[1:], _tf_dtype(array)), first)
    except Exception as error:
        raise UsageError(
            f"{_ORIGIN}, row 0: expected arrays, numbers or strings, in a dict or tuple: {error}"
        ) from error


def stacked(examples: Sequence[Nest]) -> Nest:
    """Return single examples as one nest of arrays (k, ...); strings as objects of bytes, as TensorFlow takes them.

    Raises:
      ValueError: they differ in structure or shape.
    """
    return map_nest(_stack, *examples)


def map_nest(call: Callable[..., Any], *nests: Nest) -> Nest:
    """Return `call` of the values at each place of the nests, as `tf.nest.map_structure` does.

    Raises:
      ValueError: they differ in structure.
    """
    first = nests[0]
    if not isinstance(first, Mapping | tuple | list):
        return call(*nests)
    if any(_parts(each) != _parts(first) for each in nests):
        raise ValueError(f"expected one structure, got {' and '.join(sorted({str(_parts(each)) for each in nests}))}")
    if isinstance(first, Mapping):
        return {key: map_nest(call, *(each[key] for each in nests)) for key in first}
    values = [map_nest(call, *each) for each in zip(*nests, strict=True)]
    return type(first)(*values) if hasattr(first, "_fields") else type(first)(values)


def _parts(nest: Nest) -> Any:
    if isinstance(nest, Mapping):
        return sorted(nest, key=str)
    return f"{type(nest).__name__} of {len(nest)}" if isinstance(nest, tuple | list) else type(nest).__name__


def _stack(*parts: Any) -> np.ndarray:
    if all(isinstance(part, bytes) for part in parts):
        return np.array([*parts, None], object)[:-1]  # NumPy's own bytes lose the zeros at their ends
    return _array(np.stack([np.asarray(part) for part in parts]))


@dataclasses.dataclass(frozen=True)
class _OfArrays:
    """Gathers rows of arrays."""

    source: Mapping[str, np.ndarray]

    def __call__(self, rows: np.ndarray) -> Nest:
        return {key: _array(array[rows]) for key, array in self.source.items()}


@dataclasses.dataclass(frozen=True)
class _AtOnce:
    """Gathers rows by one call of `__getitems__`."""

    source: Any

    def __call__(self, rows: np.ndarray) -> Nest:
        return _as_stack(self.source.__getitems__(rows), len(rows))


@dataclasses.dataclass(frozen=True)
class _OneByOne:
    """Gathers rows by a call of `__getitem__` for each."""

    source: Any

    def __call__(self, rows: np.ndarray) -> Nest:
        return stacked([self.source[int(row)] for row in rows])


def _as_stack(found: Any, count: int) -> Nest:
    if not isinstance(found, Mapping):
        return stacked(found)
    arrays = {key: _array(np.asarray(value)) for key, value in found.items()}
    for key, array in arrays.items():
        if len(array) != count:
            raise ValueError(f"__getitems__ returned {len(array)} values of {key!r} for {count} rows")
    return arrays


def _of_memory_maps(arrays: Mapping[str, Any]) -> Rows:
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise UsageError(f"{_ORIGIN} has arrays of different lengths {lengths}: expected the same length for all")
    return of_arrays(arrays)


def _array(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8").astype(object)
    if array.dtype.kind == "S":
        return array.astype(object)
    return np.asarray(array)


def _tf_dtype(array: np.ndarray) -> tf.DType:
    import tensorflow as tf

    if array.dtype == object:
        if not all(isinstance(each, bytes | str) for each in array.ravel()):
            raise TypeError(f"got Python objects such as {array.ravel()[0]!r}")
        return tf.string
    return tf.as_dtype(array.dtype)
