"""The source `parquet`: tables in Parquet files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin

from ....metrics.errors import UsageError
from ..storage.files import fingerprint, matching
from .arrow_rows import ArrowRows, Table, opened, pyarrow
from .columns import Columns, chosen, cleaned, column_types

_BATCH = 2**26  # bytes, about, of the rows that are converted at once


@gin.register(module="tallyloop")
def parquet(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    columns: Columns | None = None,
    fill: Mapping[str, Any] | None = None,
) -> ArrowRows:
    """Return the rows of Parquet files, by number.

    A row of a Parquet file can be read only with its whole group. So files of over 64 MB, unpacked, are converted once, a
    part at a time, into a file beside them, which is memory-mapped; smaller ones are kept in memory.

    Args:
      path: a file, a pattern, or a list of these; all with the same columns.
      columns: the columns to read; None for all. A dict gives dtypes too: `{"age": "float32", "name": "string"}`. Lists of
        one length become vectors, and categories their values.
      fill: column -> what stands for a missing value. Without one, a missing value is an error.

    Raises:
      UsageError: pyarrow is not installed, an argument is not as described, nothing matches, a file is damaged, or a column
        holds neither numbers, booleans, strings nor lists of one length.
    """
    files, types = matching("parquet.path", path), column_types("parquet.columns", columns)
    settings = ("parquet", columns and [*columns], {name: str(kind) for name, kind in types.items()}, fill)
    sources = [_File(file) for file in files]
    names = [chosen("parquet.columns", columns, source.columns, source.file) for source in sources]
    if sum(source.rows for source in sources) == 0:
        raise UsageError(f"parquet: {files[:3]} have no rows: expected at least one")

    def tables() -> Iterator[Table]:
        schema = None
        for source, each in zip(sources, names, strict=True):
            for table in source.parts(each, types, fill or {}):
                schema = table.schema if schema is None else schema
                if table.schema != schema:
                    raise UsageError(
                        f"parquet: {source.file!r} has other columns, types or lengths of lists ({table.schema}) than "
                        f"{files[0]!r} ({schema}): expected the same; give the dtypes in parquet.columns, or leave columns out"
                    )
                yield table

    return opened(files, settings, tables, sum(source.size for source in sources), fingerprint(files, settings))


class _File:
    """A Parquet file, opened for each use: one that two threads share hangs."""

    def __init__(self, file: str):
        self.file = file
        with self._open() as opened_file:
            meta = opened_file.metadata
            self.columns = list(opened_file.schema_arrow.names)
            self.rows = meta.num_rows
            self.size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))

    def _open(self) -> Any:
        pa, reader = pyarrow(), pyarrow("pyarrow.parquet")
        try:
            return reader.ParquetFile(self.file, memory_map=True)
        except OSError as error:
            raise UsageError(f"parquet: {self.file!r} cannot be read ({error}); correct parquet.path") from error
        except pa.ArrowInvalid as error:
            raise UsageError(
                f"parquet: {self.file!r} is damaged or no Parquet file ({error}); write or copy it again"
            ) from error

    def parts(self, names: list[str], types: Mapping[str, Any], fill: Mapping[str, Any]) -> Iterator[Table]:
        """Yield the rows, a part at a time."""
        pa, start = pyarrow(), 0

        def place(row: int) -> str:
            return f"parquet: {self.file!r}, row {start + row} (counted from 0)"

        with self._open() as opened_file:
            try:
                for batch in opened_file.iter_batches(max(_BATCH * self.rows // max(self.size, 1), 1), columns=names):
                    yield cleaned(pa.table(batch).select(names), types, fill, place)
                    start += batch.num_rows
            except (pa.ArrowInvalid, OSError) as error:
                raise UsageError(f"parquet: {self.file!r} is damaged ({error}); write or copy it again") from error
