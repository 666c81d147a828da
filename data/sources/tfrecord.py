"""The source `tfrecord`: examples from TFRecord files, as a stream."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import tensorflow as tf

from ...metrics.errors import UsageError
from .records import RecordFile, Records

_STORED = (tf.float32, tf.int64, tf.string)
_COMPRESSIONS = ("", "GZIP")
_GZIP = b"\x1f\x8b\x08"


@gin.register(module="tallyloop")
def tfrecord(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    features: Mapping[str, Any],
    compression: str = "",
) -> tf.data.Dataset:
    """The `tf.train.Example`s in TFRecord files, as an unbatched stream.

    Args:
      files: a file, a pattern such as "/data/train-*.tfrecord", or a list of these. The order is that of the list, and
        within a pattern by name; it decides the order of the examples, so it has to be the same on all machines.
      features: name -> dtype, or (dtype, shape): `{"x": ("float32", [8]), "y": "int64"}`. Without a shape a feature is
        one value. The dtypes are those that a `tf.train.Example` stores: float32, int64 and string (bytes); convert or
        decode in `Input.map_fn`.
      compression: "" (none, as `tf.io.TFRecordWriter` writes by default) or "GZIP".

    Returns:
      A dataset of dicts. A record that is corrupt, or has not the features, raises when it is read; see
      `Input.on_error`.

    Raises:
      UsageError: an argument is not as above, nothing matches, or a file cannot be opened.
    """
    if compression not in _COMPRESSIONS:
        raise UsageError(f"tfrecord.compression = {compression!r}: want one of {_COMPRESSIONS}; change it")
    return Records([_file(path, compression) for path in _paths(files)], compression, _features(features))


def _paths(files: Any) -> list[str]:
    patterns = [files] if isinstance(files, str | os.PathLike) else files
    is_list = isinstance(patterns, Sequence) and all(isinstance(each, str | os.PathLike) for each in patterns)
    if not is_list or not patterns:
        raise UsageError(
            f"tfrecord.files = {files!r}: want a file, a pattern or a list of these; change tfrecord.files"
        )
    return [path for pattern in patterns for path in _matching(os.fspath(pattern))]


def _matching(pattern: str) -> list[str]:
    if tf.io.gfile.exists(pattern):  # its name may look like a pattern
        return [pattern]
    try:
        found = sorted(tf.io.gfile.glob(pattern))
    except tf.errors.OpError as error:
        raise UsageError(f"tfrecord.files: {pattern!r} cannot be looked up ({error.message}); correct it") from error
    if not found:
        raise UsageError(f"tfrecord.files: no file matches {pattern!r}: want at least one; correct tfrecord.files")
    return found


def _file(path: str, compression: str) -> RecordFile:
    """The file with the size that its records have to add up to."""
    try:
        if tf.io.gfile.isdir(path):
            raise UsageError(f"tfrecord: {path!r} is a folder: want a file; write tfrecord.files = '{path}/*'")
        with tf.io.gfile.GFile(path, "rb") as file:
            size, begin = file.size(), file.read(3)
            if compression == "" or size == 0:
                _refuse_packed(path, begin)
                return RecordFile(path, size, 2**62)
            file.seek(max(size - 4, 0))
            unpacked = int.from_bytes(file.read(4), "little")  # modulo 2**32, as the gzip format has it
    except tf.errors.OpError as error:
        raise UsageError(f"tfrecord: {path!r} cannot be read ({error.message}); correct tfrecord.files") from error
    if begin != _GZIP:
        raise UsageError(
            f'tfrecord: {path!r} is no gzip file: correct tfrecord.compression = "GZIP", or write it again'
        )
    return RecordFile(path, unpacked, 2**32)


def _refuse_packed(path: str, begin: bytes) -> None:
    # A first record of 559,903 bytes begins with these bytes too, so the reader has the last word.
    if begin == _GZIP and _is_gzip(path):
        raise UsageError(f'tfrecord: {path!r} is a gzip file: bind tfrecord.compression = "GZIP"')


def _is_gzip(path: str) -> bool:
    try:
        next(iter(tf.data.TFRecordDataset(path).take(1)), None)
    except tf.errors.OpError:
        return True
    return False


def _features(features: Any) -> dict[str, tf.io.FixedLenFeature]:
    if not isinstance(features, Mapping) or not features or not all(isinstance(name, str) for name in features):
        raise UsageError(
            f"tfrecord.features = {features!r}: want a dict of names, such as {{'x': ('float32', [8]), 'y': 'int64'}}"
        )
    return {name: _feature(name, wanted) for name, wanted in features.items()}


def _feature(name: str, wanted: Any) -> tf.io.FixedLenFeature:
    dtype, shape = wanted if isinstance(wanted, tuple | list) and len(wanted) == 2 else (wanted, ())
    try:
        dtype, shape = tf.as_dtype(dtype), tf.TensorShape(shape)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"tfrecord.features: {name!r} is {wanted!r}: want a dtype, or a dtype and a shape, as in ('float32', [8])"
        ) from error
    if dtype not in _STORED:
        raise UsageError(
            f"tfrecord.features: {name!r} has dtype {dtype.name}: want one of {[each.name for each in _STORED]}, which "
            "are those that a tf.train.Example stores; convert it in Input.map_fn"
        )
    if not shape.is_fully_defined():
        raise UsageError(
            f"tfrecord.features: {name!r} has shape {shape}: want known sizes; store lists of several lengths as bytes, "
            "and decode them in Input.map_fn"
        )
    return tf.io.FixedLenFeature(shape, dtype)
