"""The files that predictions are written to: NumPy's archive, JSON Lines, Parquet."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf

from ...data.sources.libraries.optional import library
from ...metrics.atomic_file import replacing
from ...metrics.errors import UsageError, did_you_mean
from ...metrics.writers.jsonl import json_value
from . import FORMATS, Format

Column = Callable[[], Iterator[np.ndarray]]  # the chunks of an output, as often as needed

_ROW_GROUP = 2**24  # bytes


def format_of(output: Path) -> Format:
    """Return the format that the name of a file asks for.

    Raises:
      UsageError: none does, or it needs a library that isn't installed.
    """
    ending = output.suffix.removeprefix(".")
    for each in FORMATS:
        if ending == each:
            if each == "parquet":
                _pyarrow(output)
            return each
    hint = did_you_mean(ending, FORMATS) or "."
    raise UsageError(f"output = {str(output)!r}: expected a name that ends in .npz, .jsonl or .parquet{hint}")


def named(outputs: Any) -> dict[str, Any]:
    """Return the outputs by the names that they have in a file, in the order of `tf.nest.flatten`.

    A nested dict becomes a path. What isn't in a dict is numbered, as output_0 or, below a dict, as NAME/0.

    Raises:
      UsageError: two have the same name.
    """
    if not isinstance(outputs, Mapping):
        return {f"output_{i}": each for i, each in enumerate(tf.nest.flatten(outputs))}
    paths = list(_paths(outputs, ""))
    found = dict(paths)
    if len(found) < len(paths):
        raise UsageError(
            f"predict_step: two outputs have the same name in a file: {sorted(path for path, _ in paths)}: expected keys without "
            "a slash"
        )
    return found


def _paths(outputs: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(outputs, Mapping):
        for key in sorted(outputs):
            yield from _paths(outputs[key], f"{path}/{key}" if path else str(key))
    elif isinstance(outputs, list | tuple):
        for i, each in enumerate(outputs):
            yield from _paths(each, f"{path}/{i}")
    else:
        yield path, outputs


def write(output: Path, columns: Mapping[str, Column]) -> None:
    """Write the outputs of all examples, and replace `output` by them at the end.

    Args:
      output: the file; its ending is the format.
      columns: name -> returns the output of all examples, in chunks that are the same for all names.

    Raises:
      UsageError: the format cannot hold an output.
      OSError: the file cannot be written.
    """
    with replacing(output) as file:
        _WRITERS[format_of(output)](file, {name: _plain(name, column) for name, column in columns.items()})


def _plain(name: str, column: Column) -> Column:
    """Return the column as dtypes that every reader knows: bfloat16 and the like as float32, text as str."""

    def chunks() -> Iterator[np.ndarray]:
        for chunk in column():
            if chunk.dtype.kind == "V":  # of ml_dtypes
                yield chunk.astype(np.float32)
            else:
                yield _text(name, chunk) if chunk.dtype == object else chunk

    return chunks


def _text(name: str, chunk: np.ndarray) -> np.ndarray:
    try:
        return np.array([each.decode() for each in chunk.ravel()], dtype=str).reshape(chunk.shape)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"predict_step: the output {name!r} holds bytes that are not UTF-8 text ({error}): expected numbers or text in a "
            "file; encode them, as with tf.io.encode_base64, or call Trainer.predict without output"
        ) from error


def _write_npz(file: BinaryIO, columns: Mapping[str, Column]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, column in columns.items():
            rows, dtypes, shape = 0, set(), ()
            for chunk in column():
                rows += len(chunk)
                dtypes.add(chunk.dtype)
                shape = chunk.shape[1:]
            dtype = np.result_type(*dtypes)  # the widest string
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *shape)}
            # With a fixed date, so that the same predictions are the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array_header_1_0(entry, header)
                for chunk in column():
                    entry.write(np.ascontiguousarray(chunk, dtype).tobytes())


def _write_jsonl(file: BinaryIO, columns: Mapping[str, Column]) -> None:
    for chunks in _rows_of(columns):
        values = [_lists(name, chunk) for name, chunk in zip(columns, chunks, strict=True)]
        for row in zip(*values, strict=True):
            file.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False).encode() + b"\n")


def _lists(name: str, chunk: np.ndarray) -> list[Any]:
    if chunk.dtype.kind == "c":
        raise UsageError(_unfit(name, chunk))
    if chunk.dtype.kind == "f" and not np.isfinite(chunk).all():  # JSON has no NaN and no infinities
        return json_value(chunk.tolist())
    return chunk.tolist()


def _write_parquet(file: BinaryIO, columns: Mapping[str, Column]) -> None:
    pa, pq = library("pyarrow", "a table", "tables"), library("pyarrow.parquet", "a table", "tables")

    def table(chunks: Sequence[np.ndarray]) -> Any:
        return pa.table({name: _arrow(pa, name, chunk) for name, chunk in zip(columns, chunks, strict=True)})

    groups = _grouped(_rows_of(columns))
    first = table(next(groups))
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for chunks in groups:
            writer.write_table(table(chunks))


def _arrow(pa: Any, name: str, chunk: np.ndarray) -> Any:
    """Return an Arrow array; the axes after the first become lists of a fixed size."""
    if chunk.dtype.kind == "c" or 0 in chunk.shape[1:]:
        raise UsageError(_unfit(name, chunk))
    found = pa.array(chunk.ravel())
    for size in reversed(chunk.shape[1:]):
        found = pa.FixedSizeListArray.from_arrays(found, size)
    return found


def _unfit(name: str, chunk: np.ndarray) -> str:
    return (
        f"predict_step: the output {name!r} has dtype {chunk.dtype} and shape {('batch', *chunk.shape[1:])}, which this format "
        "cannot hold: expected real numbers, booleans or text; write .npz"
    )


def _rows_of(columns: Mapping[str, Column]) -> Iterator[tuple[np.ndarray, ...]]:
    return zip(*(column() for column in columns.values()), strict=True)


def _grouped(rows: Iterator[tuple[np.ndarray, ...]]) -> Iterator[list[np.ndarray]]:
    """Join small chunks: a row group of each would make a large file that is slow to read."""
    waiting: list[tuple[np.ndarray, ...]] = []
    size = 0
    for chunks in rows:
        waiting.append(chunks)
        size += sum(each.nbytes for each in chunks)
        if size >= _ROW_GROUP:
            yield _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(waiting: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(each) for each in zip(*waiting, strict=True)]


def _pyarrow(output: Path) -> None:
    library("pyarrow.parquet", f"output = {str(output)!r}", "tables")


_WRITERS: Mapping[Format, Callable[[BinaryIO, Mapping[str, Column]], None]] = {
    "npz": _write_npz,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}
