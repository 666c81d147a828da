"""The feed of the good ones among rows by number: `Input.on_error = "skip"`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError
from ..bad_examples import ALL_BAD
from ..elements import Nest, zeros_like_spec
from ..feeds.order import Order
from .loader import Good, Loader
from .row_feed import ReadingFeed
from .rows import Rows
from .shares import Share

_WHOLE = Share(0, 1)


class GoodRowFeed(ReadingFeed[Good]):
    """Batches of rows that are read by number, each short of its bad ones.

    How many are left of a batch decides how it is shared, so every worker reads the whole batch.

    Args:
      rows: the source.
      order: the order of its rows.
      loader: loads the examples of these rows.
      threads: `Input.read_threads`.
    """

    def __init__(self, rows: Rows, order: Order, loader: Loader, threads: int = 2):
        super().__init__(rows, order, loader.element_spec, lambda step, _: loader.good(step), threads, loader.processes)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tuple[tf.Tensor, Nest], tf.Tensor]:
        """Return ((the number of bad examples, the good ones), how many these are)."""
        with tf.device("CPU:0"):
            lost, n, *flat = tf.numpy_function(self._take, [plan[0] + i], [tf.int64, tf.int64, *self._types()])
            return (tf.ensure_shape(lost, []), self._shaped(flat, None)), tf.ensure_shape(n, [])

    def skipped(self, part: tuple[tf.Tensor, Nest]) -> tf.Tensor:
        """Return the number of bad examples of a fetched batch."""
        return part[0]

    def whole(self, part: tuple[tf.Tensor, Nest]) -> Nest:
        """Return all good examples of the batch."""
        return part[1]

    def take(self, part: tuple[tf.Tensor, Nest], begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Return examples [begin, begin + size) of the good ones."""
        return super().take(part[1], begin, size)

    def _take(self, step: np.ndarray) -> list[np.ndarray | np.int64]:
        """Return (lost, n, the examples); where n is 0, one meaningless example."""
        self._reader.wait(int(step))
        good = self._reader.take(int(step), _WHOLE)
        ended = not self._order.endless and step >= self._order.batches_per_epoch
        if good.examples is None and self._order.endless:
            self._reader.error = DataError(
                f'{ALL_BAD} ({good.reason}); Input.on_error = "skip" cannot continue from there'
            )
            raise self._reader.error
        if good.examples is None:
            one = tf.nest.map_structure(
                lambda spec: zeros_like_spec(spec, unknown=1).numpy()[np.newaxis], self._element
            )
            return [np.int64(0 if ended else good.lost), np.int64(0), *tf.nest.flatten(one)]
        flat = tf.nest.flatten(good.examples)
        return [np.int64(0 if ended else good.lost), np.int64(0 if ended else len(flat[0])), *flat]
