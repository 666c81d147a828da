"""The source `array_record`: records of ArrayRecord files, by row number."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ..storage.examples import Parser, features_of
from ..storage.files import fingerprint, matching
from ..storage.rows import checked, objects
from .optional import library, opened

_MODULE = "array_record.python.array_record_data_source"


@gin.register(module="tallyloop")
def array_record(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], features: Mapping[str, Any] | None = None
) -> ArrayRecordRows:
    """Return the records of ArrayRecord files, by number.

    Files that were written with "group_size:1" are read fastest.

    Args:
      files: a file, a pattern such as "/data/train-*.array_record", or a list of these.
      features: name -> dtype, or (dtype, shape), of the `tf.train.Example`s in the files, as for `tfrecord`; None for the bytes
        of a record, as `record`.

    Raises:
      UsageError: array_record isn't installed, an argument is not as described, or a file cannot be read.
    """
    found = matching("array_record.files", files)
    return ArrayRecordRows(found, None if features is None else features_of("array_record.features", features))


class ArrayRecordRows:
    """The records of files, parsed or as bytes.

    Args:
      files: the files, in order.
      features: what to parse of a `tf.train.Example`; None for bytes.
    """

    def __init__(self, files: Sequence[str], features: Mapping[str, Any] | None):
        module = library(_MODULE, "array_record", "array_record")
        self._made_of, self._told = (list(files), features), f"array_record: {list(files[:3])}"
        self._parse = None if features is None else Parser("array_record.features", features)
        what = f"array_record.files = {list(files[:3])}"
        self._source = opened(what, "ArrayRecord files", module.ArrayRecordDataSource, list(files))
        if not len(self._source):
            raise UsageError(f"{what}: expected at least one record, got none")
        self.fingerprint: str = fingerprint(files, features and sorted(features.items()))

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the records as `record`, or parsed."""
        numbers = checked(rows, len(self)).tolist()
        records = list(self._source.__getitems__(numbers)) if numbers else []
        if self._parse is None:
            return {"record": objects(records)}
        return self._parse(records, lambda number: f"{self._told}, record {numbers[number]} (counted from 0)")

    def __reduce__(self) -> tuple[type[ArrayRecordRows], tuple[Sequence[str], Mapping[str, Any] | None]]:
        return ArrayRecordRows, self._made_of
