"""The rows of Arrow tables by number, in memory or memory-mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..libraries.optional import library
from ..storage.files import cached, stamp
from ..storage.rows import checked, objects

# pyarrow's own stubs are partial, so its objects are `Any` here.
Table = Any

IN_MEMORY = 2**26  # tables of up to 64 MB are not written anywhere


def pyarrow(module: str = "pyarrow") -> Any:
    """Return a module of pyarrow, which is imported only where a table is read.

    Raises:
      UsageError: it isn't installed.
    """
    return library(module, "a table", "tables")


class ArrowRows:
    """The rows of a table.

    Args:
      table: a pyarrow table without missing values, or the path of an Arrow file of one, which is memory-mapped.
      fingerprint: what is the same for the same rows.
    """

    def __init__(self, table: Table | Path, fingerprint: str):
        self._opened_from = table
        self.fingerprint: str = fingerprint
        pa = pyarrow()
        found = pa.ipc.open_file(pa.memory_map(str(table))).read_all() if isinstance(table, Path) else table
        self._length = found.num_rows
        self._columns = {name: _Column(found.column(name)) for name in found.column_names}

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows, copied from the table, by column; strings and bytes as objects."""
        rows = checked(rows, self._length)
        return {name: column.gather(rows) for name, column in self._columns.items()}

    def __reduce__(self) -> tuple[type[ArrowRows], tuple[Table | Path, str]]:
        return ArrowRows, (self._opened_from, self.fingerprint)


class _Column:
    """A column, as one reader for each of its chunks."""

    def __init__(self, column: Any):
        chunks = [chunk for chunk in column.chunks if len(chunk)] or [pyarrow().array([], column.type)]
        self._ends = np.cumsum([len(chunk) for chunk in chunks])
        self._readers = [_reader(chunk) for chunk in chunks]

    def gather(self, rows: np.ndarray) -> np.ndarray:
        if len(self._readers) == 1:
            return self._readers[0](rows)
        places = np.searchsorted(self._ends, rows, side="right")
        starts = np.concatenate([[0], self._ends[:-1]])
        found: np.ndarray | None = None
        for place in np.unique(places):
            here = np.flatnonzero(places == place)
            part = self._readers[place](rows[here] - starts[place])
            if found is None:
                found = np.empty((len(rows), *part.shape[1:]), part.dtype)
            found[here] = part
        return self._readers[0](rows) if found is None else found  # no rows were asked for


def _reader(chunk: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return what gathers rows of a chunk: from its buffer, without a copy of the chunk, where the values are numbers."""
    types = pyarrow().types
    if types.is_fixed_size_list(chunk.type):
        values = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), chunk.type.list_size)
        return lambda rows: values[rows]
    if types.is_integer(chunk.type) or types.is_floating(chunk.type):
        numbers = chunk.to_numpy()
        return lambda rows: numbers[rows]
    if types.is_boolean(chunk.type):
        return lambda rows: chunk.take(pyarrow().array(rows)).to_numpy(zero_copy_only=False)
    return lambda rows: objects(chunk.take(pyarrow().array(rows)).to_pylist())


def opened(
    files: list[str], settings: Any, tables: Callable[[], Iterable[Table]], size: int, fingerprint: str
) -> ArrowRows:
    """Return the rows of the tables that are made of files: in memory if they are small, else from an Arrow file.

    Args:
      files: what the tables are made of.
      settings: what else they depend on.
      tables: makes them, one after the other, all of the same schema.
      size: about how many bytes they are in all.
      fingerprint: that of the rows.
    """
    pa = pyarrow()
    if size <= IN_MEMORY:
        return ArrowRows(pa.concat_tables(tables()).combine_chunks(), fingerprint)

    def write(folder: Path) -> None:
        writer = None
        for table in tables():
            writer = writer or pa.ipc.new_file(str(folder / "table.arrow"), table.schema)
            writer.write_table(table.combine_chunks())
        assert writer is not None, "there is a file"
        writer.close()

    return ArrowRows(cached(files[0], (stamp(files), settings), write) / "table.arrow", fingerprint)
