"""Transforms of an example after it was read, in Python, with random numbers of its own.

Without TensorFlow, which the processes that read rows do not load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.errors import DataError
from ..checks import with_fix
from .rows import Rows, map_nest, stacked

if TYPE_CHECKING:
    from ..elements import Nest

Transform = Callable[[Any, np.random.Generator], Any]


def transformed(examples: Nest, transform: Transform, seed: int, epoch: int, rows: np.ndarray) -> Nest:
    """Return stacked examples after `transform(example, rng)`, each with a generator keyed by (seed, epoch, row).

    Raises:
      DataError: it raised for an example. The message names its row.
    """
    done = []
    for place, row in enumerate(rows.tolist()):
        example = map_nest(lambda array, place=place: array[place], examples)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, row))))
        try:
            done.append(transform(example, rng))
        except Exception as error:
            place = f"Input.transform, row {row} of the source: {type(error).__name__}: {error}"
            raise DataError(with_fix(place)) from error
    return stacked(done)


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of a source after `Input.transform`, in NumPy.

    Attributes:
      rows: the source.
      transform: `Input.transform`, or None.
      seed: the seed of the run.
    """

    rows: Rows
    transform: Transform | None
    seed: int

    def read(self, epoch: int, rows: np.ndarray) -> Nest:
        """Return the examples of some rows in an epoch, stacked.

        Raises:
          DataError: one of them cannot be read or transformed. The message names its row.
        """
        found = self.rows.examples(rows)
        return found if self.transform is None else transformed(found, self.transform, self.seed, epoch, rows)
