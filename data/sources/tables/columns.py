"""The columns of a table: chosen by name, without missing values, of types that TensorFlow takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....metrics.errors import UsageError
from .arrow_rows import Table, pyarrow

Columns = Sequence[str] | Mapping[str, str]


def column_types(binding: str, columns: Columns | None) -> dict[str, Any]:
    """Return column -> Arrow type of those whose dtype was given.

    Raises:
      UsageError: `columns` is neither a list of names nor a dict of dtypes.
    """
    if columns is None:
        return {}
    if isinstance(columns, str) or not columns or not all(isinstance(name, str) for name in columns):
        raise UsageError(f"{binding} = {columns!r}: expected a list of names, or a dict of names and dtypes")
    if not isinstance(columns, Mapping):
        return {}
    return {name: _type(f"{binding}[{name!r}]", dtype) for name, dtype in columns.items()}


def _type(binding: str, dtype: str) -> Any:
    pa = pyarrow()
    if dtype == "string":
        return pa.string()
    try:
        return pa.from_numpy_dtype(np.dtype(dtype))
    except (TypeError, pa.ArrowNotImplementedError) as error:
        raise UsageError(f"{binding} = {dtype!r}: expected a dtype, such as 'float32', 'int64' or 'string'") from error


def chosen(binding: str, columns: Columns | None, present: Sequence[str], file: str) -> list[str]:
    """Return the names of the columns to read, all by default.

    Raises:
      UsageError: one is missing, or a name stands twice.
    """
    if len(set(present)) < len(present):
        twice = sorted({name for name in present if list(present).count(name) > 1})
        raise UsageError(
            f"{file!r} has several columns of the name {twice}: expected one of each; rename them in the file"
        )
    if missing := [name for name in columns or () if name not in present]:
        raise UsageError(f"{file!r} has no column {missing}: expected some of {list(present)}; change {binding}")
    return list(present if columns is None else columns)


def cleaned(table: Table, types: Mapping[str, Any], fill: Mapping[str, Any], place: Callable[[int], str]) -> Table:
    """Return a table without missing values, of numbers, booleans, strings, bytes, and lists of one length of these numbers.

    Args:
      table: any table.
      types: column -> Arrow type, for those to convert.
      fill: column -> what stands for a missing value.
      place: row of the table -> its file and row, for messages.

    Raises:
      UsageError: a value is missing or cannot be converted, or a type is none of these.
    """
    found = {}
    for name in table.column_names:
        column = table.column(name)
        if pyarrow().types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = _filled(name, column, fill, place)
        if name in types:
            column = _cast(name, column, types[name], place)
        found[name] = _supported(name, column, place)
    return pyarrow().table(found)


def _filled(name: str, column: Any, fill: Mapping[str, Any], place: Callable[[int], str]) -> Any:
    if column.null_count == 0:
        return column
    if name not in fill:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise UsageError(
            f"{place(row)}: column {name!r} has no value: expected one in each row; give what stands for it, as in "
            f"fill = {{{name!r}: 0}}, or leave the column out"
        )
    pa = pyarrow()
    try:
        if pa.types.is_null(column.type):
            return pa.chunked_array([pa.array([fill[name]] * len(column))])
        return column.fill_null(pa.scalar(fill[name], column.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(
            f"fill[{name!r}] = {fill[name]!r}: expected a value of {column.type}, as the column has"
        ) from error


def _cast(name: str, column: Any, wanted: Any, place: Callable[[int], str]) -> Any:
    pa = pyarrow()
    try:
        # Decimal fractions are rounded to a narrower float; a whole number that does not fit is an error.
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"{place(0)}: column {name!r} cannot be read as {wanted} ({error}); give another dtype"
        ) from error


def _supported(name: str, column: Any, place: Callable[[int], str]) -> Any:
    pa = pyarrow()
    kind, types = column.type, pa.types
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return column
    if any(test(kind) for test in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)):
        return column
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(name, column, place)
    raise UsageError(
        f"{place(0)}: column {name!r} has type {kind}: expected numbers, booleans, strings or lists of numbers; give a dtype, "
        f"as in columns = {{{name!r}: 'string'}}, or leave the column out"
    )


def _lists(name: str, column: Any, place: Callable[[int], str]) -> Any:
    pa = pyarrow()
    inner = column.type.value_type
    if not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        raise UsageError(f"{place(0)}: column {name!r} has lists of {inner}: expected lists of numbers; leave it out")
    measure = pyarrow("pyarrow.compute").list_value_length
    lengths = np.concatenate([np.zeros(0, int), *(measure(each).to_numpy() for each in column.chunks)])
    other = np.flatnonzero(lengths != lengths[:1])
    if len(other):
        raise UsageError(
            f"{place(int(other[0]))}: column {name!r} has a list of {lengths[other[0]]}: expected {lengths[0]} values, as in the "
            "first row; pad the lists, or leave the column out"
        )
    if any(each.flatten().null_count for each in column.chunks):
        raise UsageError(f"{place(0)}: column {name!r} has missing values in its lists: expected numbers; fill them")
    return column.cast(pa.list_(inner, int(lengths[0]) if len(lengths) else 0))
