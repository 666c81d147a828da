"""The source `tfds`: datasets of TensorFlow Datasets, by row number."""

from __future__ import annotations

import os
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import checked, stack
from .optional import library, opened


@gin.register(module="tallyloop")
def tfds(name: str, split: str, data_dir: str | os.PathLike[str] | None = None, decoded: bool = True) -> TfdsRows:
    """Return the rows of a dataset of TensorFlow Datasets, by number; see `tfds.data_source`.

    The dataset must have been prepared as ArrayRecord files, which `tfds.data_source` does for one that it downloads. One that
    was prepared as TFRecord files is read with the source `tfrecord`, or as the stream that `tfds.load` returns.

    Args:
      name: of the dataset, such as "mnist" or "mnist:3.0.1".
      split: the part to read, such as "train" or "train[:90%]".
      data_dir: where datasets are; None for the default of TensorFlow Datasets.
      decoded: decode images, else give their bytes, for `Input.map_fn = @decode_image()`, which decodes in parallel.

    Raises:
      UsageError: TensorFlow Datasets isn't installed, or the dataset cannot be opened.
    """
    module = library("tensorflow_datasets", "tfds", "tfds")
    options = {} if decoded else {"decoders": {"image": module.decode.SkipDecoding()}}
    where = None if data_dir is None else os.fspath(data_dir)
    source = opened(
        f"tfds.name = {name!r}, .split = {split!r}, .data_dir = {where!r}",
        "a dataset that tfds.data_source takes",
        module.data_source,
        name,
        split=split,
        data_dir=where,
        **options,
    )
    return TfdsRows(source, f"{name} {split}")


class TfdsRows:
    """The rows of a data source of TensorFlow Datasets.

    Args:
      source: has `__len__` and `__getitems__`, which returns a list of dicts.
      told: what it is.
    """

    def __init__(self, source: Any, told: str):
        if not len(source):
            raise UsageError(f"tfds: {told!r} has no rows: expected at least one; correct tfds.split")
        self._source = source
        info = getattr(source, "dataset_info", None)
        self.fingerprint: str = f"{len(source)} rows of {getattr(info, 'full_name', told)}, {told}"

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows, stacked by key."""
        return stack(self._source.__getitems__(checked(rows, len(self)).tolist()))
