"""The parsed records of TFRecord files by number, by a table of where each starts."""

from __future__ import annotations

import concurrent.futures
import errno
import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ....metrics.errors import UsageError
from ..storage.examples import Parser
from ..storage.files import cached, fingerprint, stamp
from ..storage.rows import checked

_HEADER, _FRAME = 12, 16  # the bytes of a record before its content, and around it


class RecordRows:
    """The `tf.train.Example`s in uncompressed TFRecord files, by row number.

    Args:
      files: the files, in order.
      features: name -> what to parse.

    Raises:
      UsageError: a file cannot be read or is corrupt, or there are no records.
    """

    def __init__(self, files: Sequence[str], features: Mapping[str, tf.io.FixedLenFeature]):
        self._files, self._features = [os.path.abspath(file) for file in files], dict(features)
        folder = cached(self._files[0], ("tfrecord", stamp(self._files)), self._write_table)
        # Where each record of a file begins, file after file, and the end of the last; and where each file begins among these.
        self._bounds = np.load(folder / "bounds.npy", mmap_mode="r")
        self._firsts = np.load(folder / "firsts.npy")
        self._ends = np.cumsum(np.diff(self._firsts) - 1)
        if not len(self):
            raise UsageError(
                f"tfrecord: {self._files[:3]} have no records: expected at least one; correct tfrecord.files"
            )
        self._maps = [_mapped(file) for file in self._files]
        self._parse = Parser("tfrecord.features", self._features)
        self.fingerprint: str = fingerprint(self._files, sorted(self._features.items()))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parsed records."""
        rows = checked(rows, len(self))
        places = np.searchsorted(self._ends, rows, side="right")
        at = rows + places  # each file has one more bound than it has records
        starts, ends = (self._bounds[at] + _HEADER).tolist(), (self._bounds[at + 1] - (_FRAME - _HEADER)).tolist()
        records = [self._maps[place][a:b] for place, a, b in zip(places.tolist(), starts, ends, strict=True)]
        return self._parse(records, lambda number: f"tfrecord: {self._place(int(rows[number]))}")

    def named(self, row: int) -> str:
        """Return what an error calls a row."""
        return f"row {row}, {self._place(row)}"

    def _place(self, row: int) -> str:
        file = int(np.searchsorted(self._ends, row, side="right"))
        first = 0 if file == 0 else int(self._ends[file - 1])
        return f"{self._files[file]!r}, record {row - first} (counted from 0)"

    def _write_table(self, folder: Path) -> None:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
            bounds = list(threads.map(_bounds, self._files))
        np.save(folder / "bounds.npy", np.concatenate(bounds))
        np.save(folder / "firsts.npy", np.cumsum([0, *map(len, bounds)]))

    def __reduce__(self) -> tuple[type[RecordRows], tuple[Sequence[str], Mapping[str, tf.io.FixedLenFeature]]]:
        return RecordRows, (self._files, self._features)


def _bounds(file: str) -> np.ndarray:
    """Return where each record of a file starts, and the end of the last; all checksums are verified."""
    sizes = [np.zeros(1, np.int64)]
    with tf.device("CPU:0"):
        lengths = tf.data.TFRecordDataset(file).batch(1024).map(tf.strings.length)
        try:
            sizes.extend(tf.cast(part, tf.int64).numpy() + _FRAME for part in lengths)
        except tf.errors.OpError as error:
            raise UsageError(f"tfrecord: {file!r} is corrupt ({error.message}); write or copy it again") from error
    bounds = np.cumsum(np.concatenate(sizes))
    if bounds[-1] != os.path.getsize(file):  # TensorFlow takes a file that ends inside the length of a record as whole
        raise UsageError(
            f"tfrecord: {file!r} ends inside a record: expected {bounds[-1]} bytes for {len(bounds) - 1} records, got "
            f"{os.path.getsize(file)}; write or copy it again"
        )
    return bounds


def _mapped(file: str) -> mmap.mmap | bytes:
    try:
        with open(file, "rb") as opened:
            return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) if os.path.getsize(file) else b""
    except OSError as error:
        fix = "raise the limit (ulimit -n)" if error.errno == errno.EMFILE else "correct tfrecord.files"
        raise UsageError(f"tfrecord: {file!r} cannot be read ({error.strerror or error}); {fix}") from error
