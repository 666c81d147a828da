"""What a source that is read by row number offers, whatever its class."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError, UsageError
from ..bad_examples import with_fix
from ..checks import check_lengths, map_arrays
from ..elements import Nest

_ORIGIN = "the source of Input"


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source as the feed reads it.

    Attributes:
      length: the number of rows.
      gather: row numbers, int64 (k,) -> their examples, stacked: a nest of arrays (k, ...).
      fingerprint: what must be the same on a rerun, besides the length; empty if the source does not tell.
      in_memory: whether the rows are arrays in memory.
      arrange: the source's own order, instead of a permutation: as `Buckets.arranged`; None for most sources. A number beyond
        the length says more of how a row is read.
      probes: rows whose examples have all shapes there are.
      name: a row -> what an error calls it.
    """

    length: int
    gather: Callable[[np.ndarray], Nest]
    fingerprint: str = ""
    in_memory: bool = False
    arrange: Callable[..., np.ndarray] | None = None
    probes: tuple[int, ...] = (0,)
    name: Callable[[int], str] = "row {}".format

    def examples(self, rows: np.ndarray) -> Nest:
        """Return the examples of these rows, stacked.

        Raises:
          DataError: one of them cannot be read. The message names its row.
        """
        try:
            return self.gather(rows)
        except Exception as error:
            raise DataError(with_fix(self._named(rows, error))) from error

    def _named(self, rows: np.ndarray, error: Exception) -> str:
        for row in rows.tolist():
            try:
                self.gather(np.array([row]))
            except Exception as one:
                return f"{_ORIGIN}, {self.name(row)}: {type(one).__name__}: {one}"
        return f"{_ORIGIN}, rows {rows.tolist()[:8]}, each of which can be read alone: {type(error).__name__}: {error}"


def as_rows(source: Any) -> Rows | None:
    """Return a source that has `__len__` and `__getitem__` or `__getitems__` as `Rows`; None for any other.

    A dict or tuple is taken for one only if it holds memory-mapped arrays, which would be copied into memory otherwise.

    Raises:
      UsageError: its length or first row cannot be read, or its memory-mapped arrays differ in length.
    """
    if isinstance(source, Mapping | tuple):
        return _of_memory_maps(source)
    if not is_by_number(source):
        return None
    gather = _gather_of(source)
    found = Rows(
        len(source),
        gather,
        str(getattr(source, "fingerprint", "") or getattr(source, "_fingerprint", "")),
        arrange=getattr(source, "arranged", None),
        probes=getattr(source, "probes", (0,)),
        name=getattr(source, "named", "row {}".format),
    )
    if not found.length:
        raise UsageError(
            f"{_ORIGIN} has no examples: expected at least one row, got a {type(source).__name__} of length 0"
        )
    return found


def is_by_number(source: Any) -> bool:
    """Return whether an object has a length and rows, and is neither a dict, a tuple nor an array."""
    if isinstance(source, type | tuple | np.ndarray | tf.Tensor | tf.data.Dataset | str | bytes):
        return False
    return hasattr(source, "__len__") and (hasattr(source, "__getitem__") or hasattr(source, "__getitems__"))


def of_arrays(arrays: Nest, *, in_memory: bool) -> Rows:
    """Return a nest of arrays of equal length as `Rows`."""
    length = len(tf.nest.flatten(arrays)[0])
    gather = lambda rows: tf.nest.map_structure(lambda array: _array(array[rows]), arrays)  # noqa: E731
    return Rows(length, gather, in_memory=in_memory)


def element_spec(examples: Callable[[], Sequence[Nest]]) -> Nest:
    """Return a nest of `tf.TensorSpec` of a single example.

    Args:
      examples: returns stacked examples, such as the first one, that have all shapes there are.

    Raises:
      UsageError: they cannot be read, or they aren't nests of numbers, booleans or strings.
    """
    try:
        return tf.nest.map_structure(_common_spec, *examples())
    except DataError:
        raise
    except Exception as error:
        raise UsageError(
            f"{_ORIGIN}, row 0: expected arrays, numbers or strings, in a dict or tuple: {error}"
        ) from error


def stacked(examples: Sequence[Nest]) -> Nest:
    """Return single examples as one nest of arrays (k, ...); strings as objects of bytes, as TensorFlow takes them.

    Raises:
      ValueError: they differ in structure or shape.
    """
    return tf.nest.map_structure(_stack, *examples)


def _stack(*parts: Any) -> np.ndarray:
    if all(isinstance(part, bytes) for part in parts):
        return np.array([*parts, None], object)[:-1]  # NumPy's own bytes lose the zeros at their ends
    return _array(np.stack([np.asarray(part) for part in parts]))


def _gather_of(source: Any) -> Callable[[np.ndarray], Nest]:
    if hasattr(source, "__getitems__"):
        return lambda rows: _as_stack(source.__getitems__(rows), len(rows))
    return lambda rows: stacked([source[int(row)] for row in rows])


def _as_stack(found: Any, count: int) -> Nest:
    if not isinstance(found, Mapping):
        return stacked(found)
    arrays = {key: _array(np.asarray(value)) for key, value in found.items()}
    for key, array in arrays.items():
        if len(array) != count:
            raise ValueError(f"__getitems__ returned {len(array)} values of {key!r} for {count} rows")
    return arrays


def _of_memory_maps(arrays: Nest) -> Rows | None:
    found: dict[str, Any] = {}
    map_arrays(lambda name, array: found.update({name: array}), arrays)
    if not any(isinstance(each, np.memmap) for each in found.values()):
        return None
    check_lengths(_ORIGIN, {name: len(array) for name, array in found.items()})
    return of_arrays(map_arrays(lambda _, array: array, arrays), in_memory=False)


def _array(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8").astype(object)
    if array.dtype.kind == "S":
        return array.astype(object)
    return np.asarray(array)


def _common_spec(*arrays: np.ndarray) -> tf.TensorSpec:
    shapes = [tf.TensorShape(array.shape[1:]) for array in arrays]
    common = functools.reduce(lambda one, other: one.most_specific_compatible_shape(other), shapes)
    return tf.TensorSpec(common, _tf_dtype(arrays[0]))


def _tf_dtype(array: np.ndarray) -> tf.DType:
    if array.dtype == object:
        if not all(isinstance(each, bytes | str) for each in array.ravel()):
            raise TypeError(f"got Python objects such as {array.ravel()[0]!r}")
        return tf.string
    return tf.as_dtype(array.dtype)
