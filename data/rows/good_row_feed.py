"""The feed of the good ones among rows by number: `Input.on_error = "skip"`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError
from ..bad_examples import ALL_BAD
from ..elements import Nest, batch_spec, zeros_like_spec
from ..feeds.order import Order
from .loader import Loader
from .row_feed import ReadingFeed
from .rows import Rows

_COUNT = tf.TensorSpec([], tf.int64)


class GoodRowFeed(ReadingFeed):
    """Batches of rows that are read by number, each short of its bad ones.

    How many are left of a batch decides how it is shared, so every worker reads the whole batch.

    Args:
      rows: the source.
      order: the order of its rows.
      loader: loads the examples of these rows.
      threads: `Input.read_threads`.
    """

    def __init__(self, rows: Rows, order: Order, loader: Loader, threads: int = 2):
        examples = tf.nest.flatten(batch_spec(loader.element_spec, None))
        super().__init__(rows, order, loader, threads, [_COUNT, _COUNT, *examples])

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tuple[tf.Tensor, Nest], tf.Tensor]:
        """Return ((the number of bad examples, the good ones), how many these are)."""
        with tf.device("CPU:0"):
            step, (lost, n, *flat) = self._fetched(plan, i)
            with tf.control_dependencies([step]):
                return (lost, tf.nest.pack_sequence_as(self._loader.element_spec, flat)), tf.identity(n)

    def skipped(self, part: tuple[tf.Tensor, Nest]) -> tf.Tensor:
        """Return the number of bad examples of a fetched batch."""
        return part[0]

    def whole(self, part: tuple[tf.Tensor, Nest]) -> Nest:
        """Return all good examples of the batch."""
        return part[1]

    def take(self, part: tuple[tf.Tensor, Nest], begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Return examples [begin, begin + size) of the good ones."""
        return super().take(part[1], begin, size)

    def _load(self, step: int, count: int) -> Sequence[np.ndarray]:
        """Return (lost, n, the examples) of a step; where n is 0, one meaningless example."""
        lost, n, examples = self._good(step)
        found = [np.int64(lost), np.int64(n), *tf.nest.flatten(examples)]
        return [np.asarray(each)[np.newaxis] for each in found]

    def _good(self, step: int) -> tuple[int, int, Nest]:
        good = self._loader.good(step)
        if good.examples is not None:
            return good.lost, len(tf.nest.flatten(good.examples)[0]), good.examples
        if self._order.endless:
            raise DataError(f'{ALL_BAD} ({good.reason}); Input.on_error = "skip" cannot continue from there')
        one = tf.nest.map_structure(
            lambda spec: zeros_like_spec(spec, unknown=1), batch_spec(self._loader.element_spec, 1)
        )
        return good.lost, 0, tf.nest.map_structure(lambda tensor: tensor.numpy(), one)
