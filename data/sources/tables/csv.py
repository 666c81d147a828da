"""The source `csv`: tables of comma-separated values."""

from __future__ import annotations

import contextlib
import csv as standard
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin

from ....metrics.errors import UsageError
from ..storage.files import fingerprint, matching, total_size
from .arrow_rows import ArrowRows, Table, opened, pyarrow
from .columns import Columns, chosen, cleaned, column_types

_ROW = re.compile(r"Row #(\d+): ?(.*)", re.S)


@gin.register(module="tallyloop")
def csv(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    columns: Columns | None = None,
    fill: Mapping[str, Any] | None = None,
    delimiter: str = ",",
) -> ArrowRows:
    """Return the rows of CSV files with a header, by number.

    Whole numbers are int64, other numbers float64, "true" and "false" booleans, and all else strings. Files of over 64 MB
    are converted once into a file beside them, which is memory-mapped; while it is, a file at a time is in memory.

    Args:
      path: a file, a pattern, or a list of these; all with the same columns. In UTF-8.
      columns: the columns to read; None for all. A dict gives dtypes too: `{"age": "float32", "name": "string"}`.
      fill: column -> what stands for a missing value (an empty number, "NA", "NaN", "null"). Without one, a missing value is
        an error. An empty string is a string.
      delimiter: what separates values.

    Raises:
      UsageError: pyarrow is not installed, an argument is not as described, nothing matches, or a file is damaged; with the
        line of it.
    """
    files, types = matching("csv.path", path), column_types("csv.columns", columns)
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise UsageError(f"csv.delimiter = {delimiter!r}: expected one character, such as ','")
    settings = ("csv", columns and [*columns], {name: str(kind) for name, kind in types.items()}, fill, delimiter)

    names = [chosen("csv.columns", columns, _header(file, delimiter), file) for file in files]

    def tables() -> Iterator[Table]:
        schema = None
        for file, each in zip(files, names, strict=True):
            table = _read(file, each, types, fill or {}, delimiter)
            schema = table.schema if schema is None else schema
            if table.schema != schema:
                raise UsageError(
                    f"csv: the columns of {file!r} are {_types(table)}: expected {_types(schema)}, as in {files[0]!r}; give "
                    "their dtypes in csv.columns, or correct the file"
                )
            yield table

    return opened(files, settings, tables, total_size(files), fingerprint(files, settings))


def _types(columns: Any) -> dict[str, str]:
    schema = getattr(columns, "schema", columns)
    return {field.name: str(field.type) for field in schema}


def _read(
    file: str, columns: Columns | None, types: Mapping[str, Any], fill: Mapping[str, Any], delimiter: str
) -> Table:
    names = chosen("csv.columns", columns, _header(file, delimiter), file)
    table = _parsed(file, names, types, delimiter, threads=True)
    if table.num_rows == 0:
        raise UsageError(f"csv: {file!r} has no rows after its header: expected at least one")

    def place(row: int) -> str:
        return f"csv: {file}:{_line(file, row + 1, delimiter)}"

    if binary := [name for name in names if pyarrow().types.is_binary(table.column(name).type)]:
        raise UsageError(f"csv: {file!r}: column {binary[0]!r} isn't UTF-8: expected UTF-8; convert the file")
    return cleaned(table, {}, fill, place)


def _parsed(file: str, names: list[str], types: Mapping[str, Any], delimiter: str, *, threads: bool) -> Table:
    pa, reader = pyarrow(), pyarrow("pyarrow.csv")
    try:
        return reader.read_csv(
            file,
            reader.ReadOptions(use_threads=threads),
            reader.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            reader.ConvertOptions(include_columns=names, column_types=types),
        )
    except pa.ArrowInvalid as error:
        if threads:  # several threads don't know the row
            return _parsed(file, names, types, delimiter, threads=False)
        raise UsageError(_damage(file, delimiter, str(error))) from error


def _damage(file: str, delimiter: str, problem: str) -> str:
    found = _ROW.search(problem)
    if not found:
        return f"csv: {file!r} cannot be read ({problem}): expected rows of values after a header; correct it"
    where, what = f"{file}:{_line(file, int(found[1]) - 1, delimiter)}", found[2].splitlines()[0]
    return f"csv: {where}: {what}; correct the line, or csv.columns or csv.delimiter"


def _header(file: str, delimiter: str) -> list[str]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened_file:
            return next((row for row in standard.reader(opened_file, delimiter=delimiter) if row), [])
    except OSError as error:
        raise UsageError(f"csv: {file!r} cannot be read ({error.strerror or error}); correct csv.path") from error
    except (UnicodeDecodeError, standard.Error) as error:
        raise UsageError(f"csv: {file!r} isn't a CSV file in UTF-8 ({error}); convert it") from error


def _line(file: str, record: int, delimiter: str) -> int:
    """Return the line, counted from 1, on which a record starts; the header is record 0. Empty lines aren't records."""
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as opened_file:
        reader, start, number = standard.reader(opened_file, delimiter=delimiter), 1, 0
        with contextlib.suppress(standard.Error):  # a very long value: its line is close enough
            for row in reader:
                if row and number == record:
                    break
                number += bool(row)
                start = reader.line_num + 1
        return start
