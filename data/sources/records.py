"""The records of TFRecord files, parsed: a dataset that knows its files."""

import dataclasses
import re
import sys
from collections.abc import Mapping

import tensorflow as tf

from ..feeds.feed import Nest

_FRAME = 16  # the bytes of a record beside its content: its length and two checksums
_ENDS_EARLY = "the file ends early, is no TFRecord file of this compression, or is several gzip files in one"


@dataclasses.dataclass(frozen=True)
class RecordFile:
    """A file of records, and how many bytes it has (modulo `modulus`), unpacked; they tell whether it is whole."""

    path: str
    size: int
    modulus: int


class Records(tf.data.Dataset):
    """The examples in `files`, one file after the other; a stream whose place a checkpoint can hold.

    Reading past a corrupt record raises `tf.errors.DataLossError` once and goes on with the next file, as the length of
    a record is the only way to the next.

    Args:
      files: where they are.
      compression: "" or "GZIP".
      features: name -> what to parse.
    """

    def __init__(self, files: list[RecordFile], compression: str, features: Mapping[str, tf.io.FixedLenFeature]):
        self.files = files
        self._compression = compression
        self._features = dict(features)
        self._examples = self.of(files)
        super().__init__(self._examples._variant_tensor)

    @property
    def element_spec(self) -> Nest:
        """name -> `tf.TensorSpec` of an example."""
        return self._examples.element_spec

    def of(self, files: list[RecordFile]) -> tf.data.Dataset:
        """The examples in some of the files."""
        described = (
            [file.path for file in files],
            [_exactly(file.path) for file in files],
            tf.constant([file.size for file in files], tf.int64),
            tf.constant([file.modulus for file in files], tf.int64),
        )
        return tf.data.Dataset.from_tensor_slices(described).flat_map(self._raw).map(self._parse)

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._examples]

    def _raw(self, path: tf.Tensor, pattern: tf.Tensor, size: tf.Tensor, modulus: tf.Tensor) -> tf.data.Dataset:
        """The records of one file, and an error at its end if that is not the end that it should have.

        TensorFlow takes a file that ends inside the length of a record for one that ends before it, and a damaged gzip
        header for an empty file: a part of the data would be missing in silence.
        """
        gone = tf.debugging.Assert(tf.size(tf.io.matching_files(pattern)) == 1, ["the file is gone:", path])
        with tf.control_dependencies([gone]):  # or else TensorFlow would try to open it, and fail, for ever
            records = tf.data.TFRecordDataset(tf.identity(path), self._compression)
        ended = records.map(lambda record: (record, False)).concatenate(tf.data.Dataset.from_tensors(("", True)))

        def check(state: Nest, element: Nest) -> tuple[Nest, Nest]:
            (read, following), (number, (record, is_end)) = state, element
            is_corrupt = number > following  # its error has been raised
            told = tf.cond(is_corrupt, lambda: _tell(path, following), lambda: tf.constant(True))
            whole = tf.logical_not(is_end) | is_corrupt | (read % modulus == size)
            short = tf.debugging.Assert(whole, [_ENDS_EARLY])
            with tf.control_dependencies([told, short]):
                read += tf.cast(tf.strings.length(record), tf.int64) + _FRAME
                return (read, number + 1), (tf.identity(record), is_end)

        checked = ended.enumerate().scan((tf.zeros([], tf.int64), tf.zeros([], tf.int64)), check)
        return checked.filter(lambda _, is_end: tf.logical_not(is_end)).map(lambda record, _: record)

    def _parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        return tf.io.parse_single_example(record, self._features)


def _tell(path: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    said = tf.print(
        tf.strings.format(
            "Warning: tfrecord: record {} of {} is corrupt: the rest of the file is lost.", (index, path)
        ),
        output_stream=sys.stderr,
    )
    with tf.control_dependencies([said]):
        return tf.constant(True)


def _exactly(path: str) -> str:
    """A pattern that matches this path alone."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)
