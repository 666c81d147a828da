"""Transforms of an example after it was read, in Python, with random numbers of its own.

Without TensorFlow, which the processes that read rows do not load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.errors import DataError, check_parameters
from ..checks import with_fix
from ..messages.user_frames import at_line
from .row_seed import EpochSeed
from .rows import Rows, map_nest, stacked

if TYPE_CHECKING:
    from ..elements import Nest

Transform = Callable[[Any, np.random.Generator], Any]


def transformed(
    examples: Nest,
    transform: Transform,
    seed: int,
    epoch: int,
    rows: np.ndarray,
    name: Callable[[int], str] = "row {}".format,
) -> Nest:
    """Return stacked examples after `transform(example, rng)`, each with a generator keyed by (seed, epoch, row).

    Raises:
      DataError: it raised for an example, or the examples that it returns cannot be stacked. The message names the row.
    """
    done, seeds = [], EpochSeed(seed, epoch)
    for place, row in enumerate(rows.tolist()):
        example = map_nest(lambda array, place=place: array[place], examples)
        try:
            done.append(transform(example, seeds.generator(row)))
        except Exception as error:
            if isinstance(error, TypeError):
                check_parameters(error, "Input.transform", transform, 2, "(example, rng)")
            raise DataError(
                with_fix(f"Input.transform, {name(row)}: {type(error).__name__}: {error}{at_line(error)}")
            ) from error
    try:
        return stacked(done)
    except ValueError as error:
        unlike = _unlike_first(done)
        place = f"Input.transform, {name(rows[unlike])}, is unlike {name(rows[0])}: {error}"
        raise DataError(f"{place}. Return the same keys and shapes for each example") from error


def _unlike_first(examples: Sequence[Nest]) -> int:
    """Return the place of the first example that doesn't stack with the first one, in some that don't stack."""
    for place, example in enumerate(examples):
        try:
            stacked([examples[0], example])
        except ValueError:
            return place
    return 0


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
        return (
            found
            if self.transform is None
            else transformed(found, self.transform, self.seed, epoch, rows, self.rows.name)
        )
