"""Loading the examples of a step: read by number, transformed in Python, mapped by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError
from ..elements import Nest
from ..feeds.order import Order
from .rows import Rows, element_spec
from .shares import Share, Shares
from .transforms import Mapped, Transform, transformed

_MOST_BAD_IN_A_ROW = 1000  # a source that begins with so many is not what the user thinks it is
_WHOLE = Share(0, 1)


class Good(NamedTuple):
    """What is left of a global batch without its bad examples.

    Attributes:
      examples: a nest of arrays (k, ...); None if all are bad.
      lost: the number of bad ones.
      reason: what is wrong with the first of them; empty if there is none.
    """

    examples: Nest | None
    lost: int
    reason: str


class Loader:
    """Loads the examples of any step. May be called by several threads at once.

    Args:
      rows: the source.
      order: the order of its rows.
      transform: `Input.transform`, or None.
      map_fn: `Input.map_fn`, or None.
      skip: whether `good` will be asked for; the first rows may be bad then.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, a single example.
      repeatable: whether `map_fn` gives the same again for the same row.
    """

    def __init__(
        self,
        rows: Rows,
        order: Order,
        transform: Transform | None = None,
        map_fn: Callable[..., Any] | None = None,
        skip: bool = False,
    ):
        self._rows = rows
        self._seed = order.seed
        self._transform = transform
        self._shares = Shares(order, rows.arrange)
        spec = self._spec_of_first(skip)
        self._mapped = None if map_fn is None else Mapped(map_fn, spec, order.seed)
        self.element_spec: Nest = spec if self._mapped is None else self._mapped.element_spec
        self.repeatable: bool = self._mapped is None or self._mapped.repeatable

    def share(self, step: int, share: Share) -> list[np.ndarray]:
        """Return a replica's examples of a step, flattened.

        Raises:
          DataError: one cannot be read, transformed or mapped. The message names its row.
        """
        return self._flat(self._examples(*self._shares.rows(step, share)))

    def good(self, step: int) -> Good:
        """Return the examples of a global batch that can be read, transformed and mapped."""
        epoch, rows = self._shares.rows(step, _WHOLE)
        try:
            return Good(self._examples(epoch, rows), 0, "")
        except DataError:
            return self._one_by_one(epoch, rows)

    def _one_by_one(self, epoch: int, rows: np.ndarray) -> Good:
        good, reasons = [], []
        for row in rows:
            try:
                good.append(self._examples(epoch, row[np.newaxis]))
            except DataError as error:
                reasons.append(str(error))
        joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *good) if good else None
        return Good(joined, len(reasons), reasons[0] if reasons else "")

    def _examples(self, epoch: int, rows: np.ndarray) -> Nest:
        found = self._read(epoch, rows)
        return found if self._mapped is None else self._mapped(found, epoch, rows)

    def _read(self, epoch: int, rows: np.ndarray) -> Nest:
        found = self._rows.examples(rows)
        return found if self._transform is None else transformed(found, self._transform, self._seed, epoch, rows)

    def _flat(self, examples: Nest) -> list[np.ndarray]:
        tf.nest.assert_same_structure(examples, self.element_spec)
        return tf.nest.flatten(examples)

    def _spec_of_first(self, skip: bool) -> Nest:
        """Return the spec of the first row; of the first good one if bad ones are skipped."""
        last = min(self._rows.length, _MOST_BAD_IN_A_ROW) - 1 if skip else 0
        for row in range(last + 1):
            try:
                return element_spec(
                    lambda row=row: [self._read(0, np.array([row + probe])) for probe in self._rows.probes]
                )
            except DataError:
                if row == last:
                    raise
        raise AssertionError("the last row returns or raises")
