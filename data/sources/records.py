"""The parsed records of TFRecord files: a dataset that knows its files."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

from ..elements import Nest

Compression = Literal["", "GZIP"]

_FRAME = 16  # the bytes of a record around its content: its length and two checksums
_ENDS_EARLY = "the file ends early, isn't a TFRecord file of this compression, or is several gzip files in one"


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """A file of records, with the size that tells whether all of it was read.

    Attributes:
      path: where it is.
      size: the number of bytes, unpacked, modulo `modulus`.
      modulus: 2**32 for gzip, which stores no more of the size; else larger than any file.
    """

    path: str
    size: int
    modulus: int


class Records(tf.data.Dataset[Any]):
    """The examples in `files`, one file after the other; a stream whose place a checkpoint can hold.

    Reading past a corrupt record raises `tf.errors.DataLossError` once and continues with the next file, because the
    length of a record is the only way to the next.

    Args:
      files: the files, in order.
      compression: "" or "GZIP".
      features: name -> what to parse.
      whole: other files of the same kind, whose trace is used again: tracing takes longer than opening a file.
    """

    def __init__(
        self,
        files: list[RecordFile],
        compression: Compression,
        features: Mapping[str, tf.io.FixedLenFeature],
        whole: Records | None = None,
    ):
        self.files = files
        self._compression: Compression = compression
        self._features = dict(features)
        described = [tf.TensorSpec([None], dtype) for dtype in (tf.string, tf.string, tf.int64, tf.int64)]
        self._read: Callable[..., tf.Tensor] = (
            whole._read if whole else tf.function(self._dataset, described, autograph=False)
        )
        self._examples = self.of(files)
        super().__init__(self._examples._variant_tensor)  # pyright: ignore[reportCallIssue]  # not in the stubs

    @property
    def element_spec(self) -> Nest:
        """name -> `tf.TensorSpec` of an example."""
        return {name: tf.TensorSpec(feature.shape, feature.dtype) for name, feature in self._features.items()}

    def of(self, files: list[RecordFile]) -> tf.data.Dataset[Nest]:
        """Return the examples in some of the files."""
        with tf.device("CPU:0"):
            variant = self._read(
                tf.constant([file.path for file in files]),
                tf.constant([_exactly(file.path) for file in files]),
                tf.constant([file.size for file in files], tf.int64),
                tf.constant([file.modulus for file in files], tf.int64),
            )
        return tf.data.experimental.from_variant(variant, self.element_spec)

    @property
    def fingerprint(self) -> str:
        """A string that is the same for two lists of files with the same examples: their names and sizes."""
        named = repr([(os.path.basename(file.path), file.size) for file in self.files])
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def shard_of_files(self, shard: int, shards: int) -> Records:
        """Return the examples of a shard, which has consecutive files."""
        count = len(self.files)
        files = self.files[count * shard // shards : count * (shard + 1) // shards]
        return Records(files, self._compression, self._features, self)

    def has_content(self) -> bool:
        """Return whether there is anything in the files, by their size."""
        return any(file.size for file in self.files)

    def _dataset(self, *files: tf.Tensor) -> tf.Tensor:
        return tf.data.experimental.to_variant(
            tf.data.Dataset.from_tensor_slices(files).flat_map(self._raw).map(self._parse)
        )

    def _inputs(self) -> list[tf.data.Dataset[Nest]]:
        return [self._examples]

    def _raw(self, *file: tf.Tensor) -> tf.data.Dataset[Nest]:
        """Return the records of one file, followed by an error if the file does not end where it should.

        TensorFlow takes a file that ends inside the length of a record for one that ends before it, and a damaged gzip
        header for an empty file: part of the data would be missing silently.
        """
        path, pattern, size, modulus = file
        present = tf.debugging.Assert(tf.size(tf.io.matching_files(pattern)) == 1, ["the file is gone:", path])
        with tf.control_dependencies([present]):  # otherwise TensorFlow would try to open it, and fail, forever
            records = tf.data.TFRecordDataset(tf.identity(path), self._compression)
        ended = records.map(lambda record: (record, False)).concatenate(tf.data.Dataset.from_tensors(("", True)))

        def check(state: Nest, element: Nest) -> tuple[Nest, Nest]:
            (read, following), (number, (record, is_end)) = state, element
            is_corrupt = number > following  # its error has been raised already
            told = tf.cond(is_corrupt, lambda: _tell_corrupt(path, following), lambda: tf.constant(True))
            whole = tf.logical_not(is_end) | is_corrupt | (read % modulus == size)
            short = tf.debugging.Assert(whole, [_ENDS_EARLY])
            with tf.control_dependencies([told, short]):
                read += tf.cast(tf.strings.length(record), tf.int64) + _FRAME
                return (read, number + 1), (tf.identity(record), is_end)

        checked = ended.enumerate().scan((tf.zeros([], tf.int64), tf.zeros([], tf.int64)), check)
        return checked.filter(lambda *record: tf.logical_not(record[1])).map(lambda record, _: record)

    def _parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.io.parse_single_example(record, self._features)


def _tell_corrupt(path: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    told = tf.print(
        tf.strings.format(
            "Warning: tfrecord: record {} of {} is corrupt: the rest of the file is lost.", (index, path)
        ),
        output_stream=sys.stderr,
    )
    with tf.control_dependencies([told]):
        return tf.constant(True)


def _exactly(path: str) -> str:
    """Return a pattern that matches this path alone."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)
