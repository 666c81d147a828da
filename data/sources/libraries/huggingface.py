"""The source `huggingface`: datasets of the library `datasets`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import checked
from ..tables.arrow_rows import ArrowRows, Table, pyarrow
from ..tables.columns import chosen, cleaned
from .optional import library, opened

_SAVED = ("state.json", "dataset_dict.json")  # what save_to_disk writes

_SAMPLE = 1000  # the rows that the fingerprint compares, at most


@gin.register(module="tallyloop")
def huggingface(
    path: str | os.PathLike[str] | Callable[[], Any],
    split: str | None = None,
    columns: Sequence[str] | None = None,
    name: str | None = None,
) -> HuggingFaceRows:
    """Return the rows of a Hugging Face dataset, by number.

    Args:
      path: a folder that `save_to_disk` wrote, a name that `load_dataset` takes, or a function that returns a dataset.
      split: which part of it, such as "train"; needed where there are several.
      columns: the columns to read; None for all. Images are given as their bytes; bind `Input.map_fn = @decode_image()`.
      name: the configuration, for `load_dataset`.

    Returns:
      Rows of numbers, booleans, strings, bytes and lists of one length. `packed` takes lists of different lengths too.

    Raises:
      UsageError: `datasets` is not installed, or the dataset cannot be opened, lacks a column, or is streaming.
    """
    found: Any = _dataset(path, split, name)
    if hasattr(found, "keys"):  # a DatasetDict
        raise UsageError(f"huggingface.split = {split!r}: expected one of {sorted(found)}; bind it")
    if not hasattr(found, "with_format") or not hasattr(found, "__len__") or not len(found):
        raise UsageError(
            f"huggingface.path = {path!r}: expected a datasets.Dataset with rows, got a {type(found).__name__}; load it without "
            "streaming"
        )
    names = chosen("huggingface.columns", columns, found.column_names, str(path))
    return HuggingFaceRows(found.select_columns(names), str(path))


def _dataset(path: Any, split: str | None, name: str | None) -> Any:
    found: Any
    datasets = library("datasets", "huggingface", "huggingface")
    if callable(path):
        found = path()
    elif any(os.path.exists(os.path.join(path, file)) for file in _SAVED):
        what = f"huggingface.path = {path!r}"
        found = opened(what, "a folder that save_to_disk wrote", datasets.load_from_disk, os.fspath(path))
    else:
        what = f"huggingface.path = {path!r}, .name = {name!r}, .split = {split!r}"
        found = opened(
            what, "a dataset that load_dataset takes", datasets.load_dataset, os.fspath(path), name, split=split
        )
    return found[split] if hasattr(found, "keys") and split in found else found


class HuggingFaceRows:
    """The rows of a dataset, read as Arrow tables, which is four times as fast as its NumPy format.

    Args:
      dataset: a `datasets.Dataset`.
      origin: what it is, for messages.
    """

    def __init__(self, dataset: Any, origin: str):
        self._examples, self._origin = dataset.with_format(None), origin
        self._tables = dataset.with_format("arrow")
        # Not the dataset's own, which changes with the time of its files and, in memory, from run to run.
        sample = np.unique(np.linspace(0, len(dataset) - 1, _SAMPLE).astype(np.int64)).tolist()
        told = repr((sorted(dataset.features.items()), _brief(self._tables[sample].to_pydict()))).encode()
        self.fingerprint: str = f"{len(dataset)} rows ({hashlib.sha256(told).hexdigest()[:16]})"

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return a row, in which lists may be of any length."""
        return self._examples[row]

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows, by column."""
        numbers = checked(rows, len(self)).tolist()

        def place(row: int) -> str:
            return f"huggingface: {self._origin!r}, row {numbers[row] if numbers else 0} (counted from 0)"

        table = cleaned(_bytes_of_images(self._tables[numbers].combine_chunks()), {}, {}, place)
        return ArrowRows(table, "").__getitems__(np.arange(len(numbers)))


def _brief(value: Any) -> Any:
    """Return a nest of values with digests in place of bytes, whose `repr` would take seconds for images."""
    if isinstance(value, dict):
        return {key: _brief(each) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict | bytes | type(None)):
        return [_brief(each) for each in value]
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


def _bytes_of_images(table: Table) -> Table:
    """Return a table with the bytes in place of the structs of bytes and path that `datasets.Image` makes."""
    pa = pyarrow()
    found = {}
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], pa.binary())
        found[name] = column
    return pa.table(found)
