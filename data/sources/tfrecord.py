"""The source `tfrecord`: examples from TFRecord files, as a stream."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import gin
import tensorflow as tf

from ...metrics.errors import UsageError
from ..checks import one_of, true_or_false
from .files.record_rows import RecordRows
from .records import Compression, RecordFile, Records
from .storage.examples import features_of
from .storage.files import matching

_GZIP = b"\x1f\x8b\x08"
_NO_MODULUS = 2**62  # larger than any file


@gin.register(module="tallyloop")
def tfrecord(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    features: Mapping[str, Any],
    compression: Compression = "",
    by_number: bool = False,
) -> tf.data.Dataset[dict[str, tf.Tensor]] | RecordRows:
    """Return the `tf.train.Example`s in TFRecord files, as an unbatched stream or by row number.

    Args:
      files: a file, a pattern such as "/data/train-*.tfrecord", or a list of these. Files are read in the order of the
        list, and within a pattern by name. This decides the order of the examples, so it must be the same on all machines.
      features: name -> dtype, or (dtype, shape): `{"x": ("float32", [8]), "y": "int64"}`. Without a shape, a feature is
        one value. The dtypes are those that a `tf.train.Example` stores: float32, int64 and string (bytes); convert or
        decode in `Input.map_fn`.
      compression: "" (none, as `tf.io.TFRecordWriter` writes by default) or "GZIP".
      by_number: read any row at once, for which all files are read and checked once, and where their records start is kept
        beside them. For local files without compression.

    Returns:
      A dataset of dicts, or rows by number. A record that lacks the features raises when it is read; so does a corrupt one in
      a stream (see `Input.on_error`), while by number it is refused at the start.

    Raises:
      UsageError: an argument is not as described, nothing matches, or a file cannot be opened.
    """
    packing = one_of("tfrecord.compression", compression, get_args(Compression))
    found = [_file(path, packing) for path in matching("tfrecord.files", files)]
    if not true_or_false("tfrecord.by_number", by_number):
        return Records(found, packing, features_of("tfrecord.features", features))
    if packing:
        raise UsageError(
            f"tfrecord.by_number = True, tfrecord.compression = {packing!r}: expected files without compression, in which a "
            "record can be found; write them again, or read a stream"
        )
    return RecordRows([file.path for file in found], features_of("tfrecord.features", features))


def _file(path: str, compression: Compression) -> RecordFile:
    """Return the file, with the size that its records must add up to."""
    try:
        if tf.io.gfile.isdir(path):
            raise UsageError(f"tfrecord: expected a file, got the folder {path!r}; write tfrecord.files = '{path}/*'")
        with tf.io.gfile.GFile(path, "rb") as file:
            size, begin = file.size(), file.read(3)
            if compression == "" or size == 0:
                _refuse_packed(path, begin)
                return RecordFile(path, size, _NO_MODULUS)
            file.seek(max(size - 4, 0))
            unpacked = int.from_bytes(file.read(4), "little")  # modulo 2**32, as the gzip format stores it
    except tf.errors.OpError as error:
        raise UsageError(f"tfrecord: {path!r} cannot be read ({error.message}); correct tfrecord.files") from error
    if begin != _GZIP:
        raise UsageError(
            f'tfrecord: {path!r} isn\'t a gzip file: correct tfrecord.compression = "GZIP", or write the file again'
        )
    return RecordFile(path, unpacked, 2**32)


def _refuse_packed(path: str, begin: bytes) -> None:
    # A first record of 559,903 bytes begins with these bytes too, so the reader decides.
    if begin == _GZIP and _is_gzip(path):
        raise UsageError(f'tfrecord: {path!r} is a gzip file: bind tfrecord.compression = "GZIP"')


def _is_gzip(path: str) -> bool:
    try:
        next(iter(tf.data.TFRecordDataset(path).take(1)), None)
    except tf.errors.OpError:
        return True
    return False
