"""Rows by number: the numbers checked, and examples as one stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ....metrics.errors import UsageError


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
