"""Rows by number: the numbers checked, and examples as one stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from ....metrics.errors import UsageError
from ...checks import number, one_of, seed_number

Split = Literal["train", "test", "all"]


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


def split_rows(source: str, labels: np.ndarray, split: Any, test_fraction: Any, seed: Any) -> np.ndarray:
    """Return the rows of one part of a stratified split, ascending.

    Args:
      source: the name of the source, for messages.
      labels: of all examples.
      split: "train", "test" or "all". The first two have no row in common, and together are "all".
      test_fraction: the fraction of each class that is "test"; rounded, with at least one example on each side, or of a class
        with one example, that one in "train".
      seed: the seed of the split, in [0, 2**32). It depends on nothing else: NumPy's legacy generator, which makes it, never
        changes.

    Raises:
      UsageError: an argument is not as described.
    """
    part = one_of(f"{source}.split", split, get_args(Split))
    fraction = number(f"{source}.test_fraction", test_fraction, above=0, below=1)
    generator = np.random.RandomState(seed_number(f"{source}.seed", seed))
    in_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        wanted = max(round(fraction * len(members)), 1)
        in_test[members[: min(wanted, len(members) - 1)]] = True
    return np.flatnonzero({"train": ~in_test, "test": in_test, "all": np.ones_like(in_test)}[part])
