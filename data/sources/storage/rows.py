"""Rows by number: the numbers checked, and what a source gives for them as one stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ....metrics.errors import UsageError
from ...checks import equal_length_arrays
from ...rows.rows import is_by_number


class Rows(Protocol):
    """A source that is read by row number; several threads may read at once."""

    def __len__(self) -> int: ...

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the examples of these rows, in this order, stacked by key."""
        ...


class ArrayRows:
    """The rows of arrays in memory.

    Args:
      arrays: name -> array; all of the same length.
    """

    def __init__(self, arrays: Mapping[str, Any]):
        self._arrays = equal_length_arrays("a source of arrays", arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        rows = checked(rows, len(self))
        return {key: array[rows] for key, array in self._arrays.items()}


class StackedRows:
    """The rows of an object with `__len__` and `__getitem__`, or with a `__getitems__` that returns a list of examples.

    Args:
      examples: gives a dict for each row; values of one key have one shape.
    """

    def __init__(self, examples: Any):
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def fingerprint(self) -> str | None:
        """That of the object, if it has one."""
        return getattr(self._examples, "fingerprint", None)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        numbers = checked(rows, len(self)).tolist()
        if not hasattr(self._examples, "__getitems__"):
            return stack([self._examples[row] for row in numbers])
        found = self._examples.__getitems__(numbers)
        return dict(found) if isinstance(found, Mapping) else stack(found)


def as_rows(binding: str, source: Any) -> Rows:
    """Return a source as rows by number: what a function returns, arrays, or any object with a length.

    Raises:
      UsageError: it is none of these.
    """
    found = source() if callable(source) and not is_by_number(source) else source
    if isinstance(found, Mapping):
        for key, value in found.items():
            if isinstance(value, Mapping | tuple):
                raise UsageError(
                    f"{binding}: expected a dict of arrays, got a {type(value).__name__} at {key!r}; name its arrays there"
                )
        return ArrayRows(found)
    if not is_by_number(found):
        raise UsageError(
            f"{binding} = {source!r}: expected arrays, or an object with __len__ and __getitems__ or __getitem__, got a "
            f"{type(found).__name__}"
        )
    return StackedRows(found)


def checked(rows: Any, length: int) -> np.ndarray:
    """Return `rows` as an int64 array.

    Raises:
      IndexError: one of them is not a row.
    """
    numbers = np.asarray(rows, np.int64)
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < length):
        raise IndexError(f"rows from {numbers.min()} to {numbers.max()}: expected rows from 0 to {length - 1}")
    return numbers


def stack(examples: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return examples, of which each is a dict, as one dict of arrays; strings and bytes of any length stay objects.

    Raises:
      UsageError: an example is not a dict, or they differ in keys or shapes.
    """
    if not examples or not all(isinstance(each, Mapping) for each in examples):
        got = type(examples[0]).__name__ if examples else "nothing"
        raise UsageError(f"a row of the source: expected a dict such as {{'x': ..., 'y': ...}}, got {got}")
    keys = list(examples[0])
    if any(each.keys() != examples[0].keys() for each in examples):
        raise UsageError(f"rows of the source differ in keys: expected {sorted(keys)} in each")
    return {key: _stack_values(key, [each[key] for each in examples]) for key in keys}


def _stack_values(key: str, values: list[Any]) -> np.ndarray:
    if isinstance(values[0], str | bytes):
        return objects(values)
    arrays = [np.asarray(value) for value in values]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise UsageError(
            f"rows of the source: {key!r} has shapes {shapes[0]} and {shapes[1]}: expected one shape; pad it, or pack it with "
            "`packed`"
        )
    return np.stack(arrays)


def objects(values: Sequence[Any]) -> np.ndarray:
    """Return strings or bytes as an array of objects, which keeps zero bytes at their ends, as NumPy's own types don't."""
    array = np.empty(len(values), object)
    array[:] = values
    return array
