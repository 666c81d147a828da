"""What a source that is read by row number offers, whatever its class.

Without TensorFlow, which the processes that read rows do not load.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...metrics.errors import DataError, UsageError
from ..checks import equal_length_arrays, map_arrays, with_fix
from ..messages.user_frames import at_line

if TYPE_CHECKING:
    from ..elements import Nest

_ORIGIN = "the source of Input"


class Gather(Protocol):
    """Reads rows of a source."""

    def __call__(self, rows: np.ndarray) -> Nest:
        """Return the examples of these rows, stacked."""
        ...

    def each(self, rows: np.ndarray) -> list[Nest]:
        """Return the examples of these rows, whose arrays may differ in length."""
        ...


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source as the feed reads it.

    Attributes:
      length: the number of rows.
      gather: row numbers, int64 (k,) -> their examples, stacked: a nest of arrays (k, ...).
      fingerprint: what must be the same on a rerun, besides the length; empty if the source does not tell.
      covers_content: whether other examples have another fingerprint; see `covers_content`.
      in_memory: whether the rows are arrays in memory.
      arrange: the source's own order, instead of a permutation: as `Buckets.arranged`; None for most sources. A number beyond
        the length says more of how a row is read.
      probes: rows whose examples have all shapes there are.
      name: a row -> what an error calls it.
      origin: what an error calls the source.
    """

    length: int
    gather: Gather
    fingerprint: str = ""
    covers_content: bool = False
    in_memory: bool = False
    arrange: Callable[..., np.ndarray] | None = None
    probes: tuple[int, ...] = (0,)
    name: Callable[[int], str] = "row {}".format
    origin: str = _ORIGIN

    def examples(self, rows: np.ndarray) -> Nest:
        """Return the examples of these rows, stacked.

        Raises:
          DataError: one of them cannot be read. The message names its row.
        """
        try:
            return self.gather(rows)
        except Exception as error:
            raise DataError(with_fix(self._named(rows, error))) from error

    def each(self, rows: np.ndarray) -> list[Nest]:
        """Return the examples of these rows as the source gives them: their arrays may differ in length."""
        return self.gather.each(rows)

    def _named(self, rows: np.ndarray, error: Exception) -> str:
        for row in rows.tolist():
            try:
                self.gather(np.array([row]))
            except Exception as one:
                return f"{self.origin}, {self.name(row)}: {_reason(one)}"
        for row in rows[1:].tolist():
            try:
                self.gather(np.array([rows[0], row]))
            except Exception as one:
                return f"{self.origin}, {self.name(row)}, is unlike {self.name(rows[0])}: {_reason(one)}"
        return f"{self.origin}, rows {rows.tolist()[:8]}, each of which can be read alone: {_reason(error)}"


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}{at_line(error)}"


def rows_of(source: Any, origin: str) -> Rows:
    """Return a source of arrays, or of rows by number, or a function that returns one, as `Rows`.

    Args:
      source: not a stream.
      origin: what an error calls it.

    Raises:
      UsageError: it is none of these, or its arrays or rows cannot be read.
    """
    found = source() if callable(source) and not is_by_number(source) else source
    rows = as_rows(found, origin)
    if rows is None and isinstance(found, Mapping | tuple):
        rows = of_arrays(equal_length_arrays(origin, found), in_memory=True)
    if rows is None:
        raise UsageError(
            f"{origin}: expected arrays, or an object with __len__ and __getitems__ or __getitem__, got a "
            f"{type(found).__name__}"
        )
    return rows


def as_rows(source: Any, origin: str = _ORIGIN) -> Rows | None:
    """Return a source that has `__len__` and `__getitem__` or `__getitems__` as `Rows`; None for any other.

    A dict or tuple is taken for one only if it holds memory-mapped arrays, which would be copied into memory otherwise.

    Raises:
      UsageError: it has no rows or no end, or its memory-mapped arrays differ in length.
    """
    if isinstance(source, Mapping | tuple):
        return _of_memory_maps(source, origin)
    if not is_by_number(source):
        return None
    _refuse_table(source, origin)
    _refuse_batches(source, origin)
    gather = _AtOnce if hasattr(source, "__getitems__") else _OneByOne
    found = Rows(
        len(source),
        gather(source),
        str(getattr(source, "fingerprint", None) or ""),
        covers_content(source),
        arrange=getattr(source, "arranged", None),
        probes=getattr(source, "probes", (0,)),
        name=getattr(source, "named", "row {}".format),
        origin=origin,
    )
    if not found.length:
        raise UsageError(
            f"{origin} has no examples: expected at least one row, got a {type(source).__name__} of length 0"
        )
    if found.length == sys.maxsize:  # as Grain tells the length of what is repeated without end
        raise UsageError(
            f"{origin}: an epoch has each row once, but the source never ends: expected a length, got that of an endless "
            f"{type(source).__name__}; remove its .repeat()"
        )
    return found


def _refuse_table(source: Any, origin: str) -> None:
    """Refuse the tables of pandas, polars and pyarrow: they have a length and items, which are columns."""
    library, name = type(source).__module__.partition(".")[0], type(source).__name__
    if name in ("DataFrame", "Table"):
        raise UsageError(
            f"{origin}: expected rows by number, got a {library}.{name}, whose items are columns; give a dict of these, "
            "such as {name: table[name].to_numpy() for name in names}"
        )


def _refuse_batches(source: Any, origin: str) -> None:
    """Refuse the datasets of Keras, which have a length and items, which are batches; Keras is not imported for that."""
    for kind in type(source).__mro__:
        if kind.__name__ in ("PyDataset", "Sequence") and kind.__module__.partition(".")[0] in ("keras", "tf_keras"):
            raise UsageError(
                f"{origin}: expected rows by number, got {type(source).__name__}, a keras.utils.PyDataset, whose items are whole "
                "batches; give what it reads, or an object whose __getitem__(i) returns one example and whose __len__ is their "
                "number"
            )


def is_by_number(source: Any) -> bool:
    """Return whether an object has a length and rows, and is neither a dict, a tuple nor an array."""
    if isinstance(source, type | Mapping | tuple | np.ndarray | str | bytes) or type(source).__module__.startswith(
        "tensorflow."
    ):
        return False
    return hasattr(source, "__len__") and (hasattr(source, "__getitem__") or hasattr(source, "__getitems__"))


def covers_content(source: Any) -> bool:
    """Return whether other examples give a source another fingerprint.

    That of a plan over sources that have none covers lengths and settings only.
    """
    return bool(getattr(source, "fingerprint", None)) and getattr(source, "covers_content", True)


def of_arrays(arrays: Nest, *, in_memory: bool = False) -> Rows:
    """Return a nest of arrays of equal length as `Rows`."""
    lengths: list[int] = []
    map_nest(lambda array: lengths.append(len(array)), arrays)
    return Rows(lengths[0], _OfArrays(arrays), in_memory=in_memory)


def stacked(examples: Sequence[Nest]) -> Nest:
    """Return single examples as one nest of arrays (k, ...); strings as objects of bytes, as TensorFlow takes them.

    Raises:
      ValueError: they differ in structure or shape.
    """
    return map_nest(_stack, *examples)


def map_nest(call: Callable[..., Any], *nests: Nest) -> Nest:
    """Return `call` of the values at each place of the nests, which are dicts and tuples; a list is a value, an array.

    Raises:
      ValueError: they differ in structure.
    """
    first = nests[0]
    if not isinstance(first, Mapping | tuple):
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
    return f"{type(nest).__name__} of {len(nest)}" if isinstance(nest, tuple) else type(nest).__name__


def _stack(*parts: Any) -> np.ndarray:
    if all(isinstance(part, bytes) for part in parts):
        return np.array([*parts, None], object)[:-1]  # NumPy's own bytes lose the zeros at their ends
    return _array(np.stack([np.asarray(part) for part in parts]))


@dataclasses.dataclass(frozen=True)
class _OfArrays:
    """Gathers rows of arrays."""

    source: Nest

    def __call__(self, rows: np.ndarray) -> Nest:
        return map_nest(lambda array: _array(array[rows]), self.source)

    def each(self, rows: np.ndarray) -> list[Nest]:
        return [map_nest(lambda array, row=row: array[row], self.source) for row in rows.tolist()]


@dataclasses.dataclass(frozen=True)
class _AtOnce:
    """Gathers rows by one call of `__getitems__`.

    It gets an array; a list in TensorFlow Datasets, which asks whether what it gets is true.
    """

    source: Any

    def __call__(self, rows: np.ndarray) -> Nest:
        of_tfds = type(self.source).__module__.startswith("tensorflow_datasets.")
        return _as_stack(self.source.__getitems__(rows.tolist() if of_tfds else rows), len(rows))

    def each(self, rows: np.ndarray) -> list[Nest]:
        return one_by_one(self.source, rows)


@dataclasses.dataclass(frozen=True)
class _OneByOne:
    """Gathers rows by a call of `__getitem__` for each."""

    source: Any

    def __call__(self, rows: np.ndarray) -> Nest:
        return stacked(self.each(rows))

    def each(self, rows: np.ndarray) -> list[Nest]:
        return one_by_one(self.source, rows)


def one_by_one(source: Any, rows: np.ndarray) -> list[Nest]:
    """Return the examples of some rows of an object, as it gives them: their arrays may differ in length."""
    if hasattr(source, "unstacked"):  # our own, of many rows in less time
        return source.unstacked(rows)
    if hasattr(source, "__getitem__"):  # `__getitems__` stacks them, as that of `huggingface`
        return [source[row] for row in rows.tolist()]
    found = source.__getitems__(rows)
    if not isinstance(found, Mapping | tuple):
        return list(found)
    return [map_nest(lambda values, place=place: values[place], found) for place in range(len(rows))]


def _as_stack(found: Any, count: int) -> Nest:
    if not isinstance(found, Mapping | tuple):
        if len(found) != count:
            raise ValueError(f"__getitems__ returned {len(found)} examples for {count} rows")
        return stacked(found)

    def checked(key: str, value: Any) -> np.ndarray:
        array = _array(np.asarray(value))
        if len(array) != count:
            raise ValueError(
                f"__getitems__ returned {len(array)} values of {key!r} for {count} rows: expected a dict or a tuple of arrays, "
                "or a list of examples"
            )
        return array

    return map_arrays(checked, found)


def _of_memory_maps(arrays: Nest, origin: str) -> Rows | None:
    found: dict[str, Any] = {}
    map_arrays(lambda name, array: found.update({name: array}), arrays)
    if not any(isinstance(each, np.memmap) for each in found.values()):
        return None
    checked = equal_length_arrays(origin, arrays)
    return of_arrays(
        map_arrays(lambda name, array: found[name] if isinstance(found[name], np.memmap) else array, checked)
    )


def _array(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "U":
        return np.char.encode(array, "utf-8").astype(object)
    if array.dtype.kind == "S":
        return array.astype(object)
    return np.asarray(array)
