"""Whether the files of a checkpoint are those that were written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import tensorflow as tf

INDEX: Final = ".index"
DATA: Final = ".data-00000-of-00001"
SUMS: Final = ".sha256.json"
_BYTES: Final = "bytes"


def with_ending(prefix: Path, ending: str) -> Path:
    """Return the path of one of the files of the checkpoint at `prefix`."""
    return prefix.with_name(prefix.name + ending)


def write_sums(prefix: Path) -> None:
    """Write what `damage` compares with: the checksum of the index, and the size of the data.

    The index holds TensorFlow's checksum of each tensor, so that the data, which may be large, need not be read again.
    """
    sums = {INDEX: _checksum(with_ending(prefix, INDEX)), DATA: {_BYTES: with_ending(prefix, DATA).stat().st_size}}
    with_ending(prefix, SUMS).write_text(json.dumps(sums))


def damage(prefix: Path) -> str | None:
    """Describe which file of the checkpoint at `prefix` is damaged; None if none is, or if it has no checksums.

    Reads every tensor, one after another, since TensorFlow compares a tensor with its checksum when it reads it.
    """
    sums = with_ending(prefix, SUMS)
    if not sums.exists():
        return None
    try:
        expected = json.loads(sums.read_bytes())
        return (
            _missing(prefix)
            or _damaged_file(with_ending(prefix, INDEX), expected[INDEX])
            or _damaged_data(prefix, expected[DATA])
        )
    except (ValueError, KeyError, TypeError):
        return f"{sums.name} is damaged"
    except OSError as error:
        return f"{prefix.name} cannot be read ({error.strerror or error})"


def _missing(prefix: Path) -> str | None:
    gone = (path.name for ending in (DATA, INDEX) if not (path := with_ending(prefix, ending)).exists())
    return next((f"{name} is missing" for name in gone), None)


def _damaged_file(path: Path, checksum: str) -> str | None:
    return None if _checksum(path) == checksum else f"the checksum of {path.name} differs from what was written"


def _damaged_data(prefix: Path, expected: str | dict[str, int]) -> str | None:
    path = with_ending(prefix, DATA)
    if isinstance(expected, str):  # of version 0.1
        return _damaged_file(path, expected)
    size = path.stat().st_size
    if size != expected[_BYTES]:
        return f"{path.name} has {size} bytes, of {expected[_BYTES]} that were written"
    tensor = _damaged_tensor(prefix)
    return None if tensor is None else f"the checksum of {tensor} in {path.name} differs from what was written"


def _damaged_tensor(prefix: Path) -> str | None:
    dtypes = tf.train.load_checkpoint(str(prefix)).get_variable_to_dtype_map()
    with tf.device("CPU:0"):
        for name in sorted(dtypes):
            try:  # not by the reader, which knows no iterators
                tf.raw_ops.RestoreV2(
                    prefix=str(prefix), tensor_names=[name], shape_and_slices=[""], dtypes=[dtypes[name]]
                )
            except tf.errors.OpError:
                return name
    return None


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
