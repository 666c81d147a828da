"""The source `grain`: a `grain.MapDataset`, by row number."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import checked, stack
from .optional import library


@gin.register(module="tallyloop")
def grain(dataset: Callable[[], Any]) -> GrainRows:
    """Return the elements of a `grain.MapDataset`, by number.

    Args:
      dataset: a function that returns one, of dicts, before `batch`, `repeat` and `to_iter_dataset`: `Input` cuts batches and
        counts epochs. Let `Input` shuffle too, so that each epoch has an order of its own.

    Raises:
      UsageError: grain isn't installed, or the function returns something else.
    """
    module = library("grain", "grain", "grain")
    found = dataset() if callable(dataset) else dataset
    if not isinstance(found, module.MapDataset):
        raise UsageError(
            f"grain.dataset = {dataset!r}: expected a function that returns a grain.MapDataset, got a {type(found).__name__}; "
            "leave out to_iter_dataset"
        )
    return GrainRows(found)


class GrainRows:
    """The elements of a `grain.MapDataset`, whose random transforms are the same in each epoch.

    Args:
      dataset: of dicts.
    """

    def __init__(self, dataset: Any):
        if not 0 < len(dataset) < sys.maxsize:
            raise UsageError(
                f"grain.dataset has {len(dataset)} elements: expected some, and an end; leave out repeat()"
            )
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the elements, stacked by key."""
        numbers = checked(rows, len(self)).tolist()
        found = [self._dataset[number] for number in numbers]
        holes = [number for number, each in zip(numbers, found, strict=True) if each is None]
        if holes:
            raise UsageError(
                f"grain.dataset has no element {holes[0]}, as filter() leaves holes: expected one for each number; filter before"
            )
        return stack(found)
