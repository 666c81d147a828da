"""Checks of what a user passed or bound, each raising `UsageError` with the binding's name."""

import numbers
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..metrics.errors import UsageError

# The random generators that a seed reaches (NumPy's legacy one) take 32 bits; a longer seed would be cut.
SEED_LIMIT = 2**32


def whole_number(name: str, value: Any, least: int, below: int | None = None) -> int:
    """`value` as an int, refused unless it is a whole number of [least, below)."""
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_int or value < least or (below is not None and value >= below):
        wanted = f"an integer of at least {least}" + (f" and below {below}" if below is not None else "")
        raise UsageError(f"{name} = {value!r}: want {wanted}; change {name}")
    return operator.index(value)


def seed_number(name: str, value: Any) -> int:
    """`value` as a seed, refused unless it fits 32 bits."""
    return whole_number(name, value, least=0, below=SEED_LIMIT)


def true_or_false(name: str, value: Any) -> bool:
    """`value` as a bool, refused when it is anything else: the string "False" is true to Python."""
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{name} = {value!r}: want True or False; change {name}")
    return bool(value)


def equal_length_arrays(origin: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values of `arrays` as NumPy arrays of one length of at least 1; `origin` says whose they are."""
    if not arrays:
        raise UsageError(f"{origin} has no arrays: want a dict such as {{'x': images, 'y': labels}}")
    converted = {key: _array(origin, key, value) for key, value in arrays.items()}
    lengths = {key: len(array) for key, array in converted.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"{origin} has arrays of different lengths {lengths}: want one length for all")
    if 0 in lengths.values():
        raise UsageError(f"{origin} has no examples (lengths {lengths}): want at least one")
    return converted


def _array(origin: str, key: Any, value: Any) -> np.ndarray:
    if not isinstance(key, str):
        raise UsageError(f"{origin} has the key {key!r} of type {type(key).__name__}: want strings")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:  # a ragged list of lists, for one
        raise UsageError(f"{origin}: the value of {key!r} makes no array ({error})") from error
    if array.dtype.hasobject:
        raise UsageError(
            f"{origin}: {key!r} has dtype object, which holds Python objects: want numbers, booleans or "
            f"strings; convert it, as with np.asarray({key}, dtype='float32')"
        )
    if array.ndim == 0:
        raise UsageError(f"{origin}: {key!r} is a single value: want an array with one row an example")
    return array
