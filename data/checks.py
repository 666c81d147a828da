"""Validators of what a user passed or bound; each raises `UsageError` with the name of the binding."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import numbers
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..metrics.errors import DataError, UsageError, check_parameters
from .messages.user_frames import OF_AUTOGRAPH, hints_of, lines_of, message_of, user_frames

if TYPE_CHECKING:
    from .elements import Nest

# NumPy's legacy generator, one of those that a seed reaches, takes 32 bits; a longer seed would be truncated.
LARGEST_SEED = 2**32 - 1

_Choice = TypeVar("_Choice", bound=str)


def whole_number(name: str, value: Any, *, least: int, most: float = math.inf, otherwise: str = "") -> int:
    """Return `value` as an int if it is a whole number in the range.

    Args:
      name: the binding, as the user writes it: "Input.seed".
      value: what was bound. Python's and NumPy's integers pass; bools and floats, even 2.0, do not.
      least: the smallest number allowed.
      most: the largest number allowed.
      otherwise: what else the caller accepts, for the message: "None".

    Raises:
      UsageError: `value` is not a whole number, or out of range.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        found = operator.index(value)
        if least <= found <= most:
            return found
    allowed = _allowed({"of at least": least, "of at most": most}, otherwise)
    raise UsageError(f"{name} = {value!r}: expected a whole number{allowed}")


def seed_number(name: str, value: Any, *, otherwise: str = "") -> int:
    """Return `value` as an int if it is a seed of 32 bits; see `whole_number`."""
    return whole_number(name, value, least=0, most=LARGEST_SEED, otherwise=otherwise)


def number(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    otherwise: str = "",
) -> float:
    """Return `value` as a float if it is a finite number in the range.

    Args:
      name: the binding, as the user writes it: "StopAtTarget.target".
      value: what was bound. Python's and NumPy's integers and floats pass, and fractions; bools, NaN and infinities do not.
      least: the smallest number allowed.
      most: the largest number allowed.
      above: what the number must be greater than.
      below: what the number must be less than.
      otherwise: what else the caller accepts, for the message: "None".

    Raises:
      UsageError: `value` is not a finite number, or out of range.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # of an int with more than 308 digits
            found = float(value)
            if least <= found <= most and above < found < below:
                return found
    kind = "a finite number" if isinstance(value, float | np.floating) and np.isinf(value) else "a number"
    allowed = _allowed({"of at least": least, "greater than": above, "of at most": most, "less than": below}, otherwise)
    raise UsageError(f"{name} = {value!r}: expected {kind}{allowed}")


def true_or_false(name: str, value: Any) -> bool:
    """Return `value` as a bool if it is one; the string "False" is not, though Python takes it as true.

    Raises:
      UsageError: it is not one.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise UsageError(f"{name} = {value!r}: expected True or False")


def one_of(name: str, value: Any, choices: tuple[_Choice, ...]) -> _Choice:
    """Return `value` if it is one of the words in `choices`, of which there are at least two.

    Raises:
      UsageError: it is not.
    """
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    *others, last = map(repr, choices)
    raise UsageError(f"{name} = {value!r}: expected {', '.join(others)} or {last}")


def equal_length_arrays(origin: str, arrays: Nest) -> Nest:
    """Return `arrays` as NumPy arrays, if all have the same length of at least 1.

    Args:
      origin: where the arrays come from; the subject of the message.
      arrays: what `np.asarray` takes, one row per example, in a dict or tuple, or in dicts and tuples in it.

    Raises:
      UsageError: there are no arrays, lengths differ or are 0, or a value is not an array of numbers, booleans or strings.
    """
    _check_keys(origin, arrays)
    converted = map_arrays(functools.partial(_array, origin), arrays)
    lengths: dict[str, int] = {}
    map_arrays(lambda name, array: lengths.update({name: len(array)}), converted)
    if not lengths:
        raise UsageError(f"{origin} has no arrays: expected a dict such as {{'x': images, 'y': labels}}")
    check_lengths(origin, lengths)
    return converted


def check_lengths(origin: str, lengths: Mapping[str, int]) -> None:
    """Refuse arrays of different lengths, or of none; `lengths` is name -> length.

    Raises:
      UsageError: the lengths differ, or one is 0.
    """
    if len(set(lengths.values())) > 1:
        raise UsageError(f"{origin} has arrays of different lengths {lengths}: expected the same length for all")
    if 0 in lengths.values():
        raise UsageError(f"{origin} has no examples (lengths {lengths}): expected at least one")


def map_arrays(function: Callable[[str, Any], Any], arrays: Nest, name: str = "") -> Nest:
    """Return `function(name, array)` of each array in dicts and tuples; a name is a path such as `x`, `inputs/age` or `0`."""
    prefix = f"{name}/" if name else ""
    if isinstance(arrays, Mapping):
        return {key: map_arrays(function, value, f"{prefix}{key}") for key, value in arrays.items()}
    if isinstance(arrays, tuple):
        parts = [map_arrays(function, value, f"{prefix}{place}") for place, value in enumerate(arrays)]
        return type(arrays)(*parts) if hasattr(arrays, "_fields") else tuple(parts)
    return function(name, arrays)


@contextlib.contextmanager
def tracing_map_fn(map_fn: Callable[..., Any], element_spec: Nest, *, seeds: bool = False) -> Iterator[None]:
    """Tell an error of `Input.map_fn`, which is traced on one example, by the user's line.

    Raises:
      UsageError: it raised an error, or has another number of parameters than an example has.
    """
    try:
        yield
    except (DataError, UsageError) as error:
        if OF_AUTOGRAPH not in str(error):
            raise
        raise type(error)(message_of(error).partition("Error: ")[2]) from error  # without the frames in front
    except Exception as error:
        if isinstance(error, TypeError):
            _check_map_fn(error, map_fn, element_spec, seeds)
        example = map_arrays(
            lambda _, spec: f"{spec.dtype.name} {spec.shape}" if hasattr(spec, "dtype") else str(spec), element_spec
        )
        told, frames = message_of(error), user_frames(error)
        lines = lines_of(frames, told) if frames else [f"Input.map_fn = {map_fn!r}: {told}"]
        lines += [f"  {hint}" for hint in hints_of(error, "Input.map_fn")]
        raise UsageError("\n".join([*lines, f"  In Input.map_fn, traced on an example: {example}."])) from error


def _check_map_fn(error: TypeError, map_fn: Callable[..., Any], element_spec: Nest, seeds: bool) -> None:
    parts = len(element_spec) if isinstance(element_spec, tuple) else 1
    expected = "one parameter" if parts == 1 else f"{parts} parameters"
    kind = {tuple: f"a tuple of {parts}", dict: "a dict"}.get(type(element_spec), "an array")
    told = f"{expected}{', and a seed' if seeds else ''}, as an example is {kind}"
    check_parameters(error, "Input.map_fn", map_fn, parts + seeds, told)


def with_fix(place: str) -> str:
    """Return the message for a bad example at `place`, with what the user can do about it."""
    return f'{place}. Fix or remove it, or skip such examples with Input.on_error = "skip"'


def _allowed(bounds: Mapping[str, float], otherwise: str) -> str:
    """Return the rest of a message that says which numbers are allowed."""
    given = {words: bound for words, bound in bounds.items() if math.isfinite(bound)}
    if given.keys() == {"of at least", "of at most"}:
        told = " from {} to {}".format(*given.values())
    elif given.keys() == {"greater than", "less than"}:
        told = " between {} and {}".format(*given.values())
    else:
        told = " and".join(f" {words} {bound}" for words, bound in given.items())
    return f"{told}, or {otherwise}" if otherwise else told


def _check_keys(origin: str, arrays: Nest) -> None:
    if isinstance(arrays, Mapping):
        for key, value in arrays.items():
            if not isinstance(key, str):
                raise UsageError(f"{origin}: expected strings as keys, got {key!r} of type {type(key).__name__}")
            _check_keys(origin, value)
    elif isinstance(arrays, tuple):
        for value in arrays:
            _check_keys(origin, value)


def _array(origin: str, name: str, value: Any) -> np.ndarray:
    if hasattr(value, "__getitems__"):  # such as the splits of a dataset of Hugging Face's, in a dict
        raise UsageError(
            f"{origin}: {name!r} is a {type(value).__name__}, rows by number: expected an array; give Input one such source, not "
            "a dict or tuple of them"
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:  # such as a ragged list of lists
        raise UsageError(f"{origin}: {name!r} cannot be converted to an array ({error})") from error
    if array.dtype.hasobject:
        raise UsageError(
            f"{origin}: {name!r} has dtype object, which holds Python objects: expected numbers, booleans or "
            f"strings; convert it, as with np.asarray({name}, dtype='float32')"
        )
    if array.ndim == 0:
        raise UsageError(f"{origin}: {name!r} is a single value: expected an array with one row per example")
    return array


def takes_shards(source: Any) -> bool:
    """Return whether a source is a function of `(shard, shards)`: those are the names of its first two parameters."""
    if not callable(source):
        return False
    try:
        names = list(inspect.signature(source).parameters)
    except (TypeError, ValueError):  # a builtin has no signature
        return False
    return names[:2] == ["shard", "shards"]
