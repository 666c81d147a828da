"""The rows of each replica in each step: drawn for many steps at once, and for its own rows only."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ..feeds.feed import Share
from ..feeds.order import Order
from ..feeds.permutation import permuted

_STEPS = 64  # drawn at once, at least: one step costs as much as many
_ROWS = 2**14  # drawn at once, about, if that is no more than 4 times as many steps


class Shares:
    """The rows of each share of each step, kept for the steps around the last one asked for.

    Args:
      order: the order of the rows.
      arrange: the source's own order, or None; see `Rows`.
    """

    def __init__(self, order: Order, arrange: Callable[..., np.ndarray] | None = None):
        self._order = order
        self._arrange = arrange
        self._steps = max(_STEPS, min(4 * _STEPS, _ROWS // order.batch_size))
        self._lock = threading.Lock()
        self._drawn: dict[tuple[int, Share], list[np.ndarray]] = {}  # (chunk, share) -> rows of each of its steps
        self._draw = tf.function(self._traced, autograph=False)

    def rows(self, step: int, share: Share) -> tuple[int, np.ndarray]:
        """Return the epoch of a step, and the rows of the share, int64 (k,); one borrowed row of the batch if it has none."""
        chunk, place = divmod(step, self._steps)
        with self._lock:
            if (chunk, share) not in self._drawn:
                for old in [key for key in self._drawn if abs(key[0] - chunk) > 1]:
                    del self._drawn[old]
                self._drawn[chunk, share] = self._of_chunk(chunk, share)
            return step // self._order.batches_per_epoch, self._drawn[chunk, share][place]

    def block(self, first: int, count: int, share: Share) -> tuple[int, np.ndarray]:
        """Return the epoch of `count` steps of one epoch, and their rows, int64 (count, k): shares of one size."""
        found = [self.rows(step, share) for step in range(first, first + count)]
        return found[0][0], np.stack([rows for _, rows in found])

    def _of_chunk(self, chunk: int, share: Share) -> list[np.ndarray]:
        with tf.device("CPU:0"):
            first = tf.constant(chunk * self._steps, tf.int64)
            rows, counts = self._draw(first, tf.constant(share.index, tf.int64), tf.constant(share.count, tf.int64))
        counts = counts.numpy()
        return np.split(self._arranged(chunk, rows.numpy(), counts), np.cumsum(counts)[:-1])

    def _arranged(self, chunk: int, positions: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the rows at positions of the steps of a chunk, of which each has so many: those themselves, or the source's."""
        if self._arrange is None:
            return positions
        order = self._order
        epochs = np.repeat(np.arange(chunk * self._steps, (chunk + 1) * self._steps) // order.batches_per_epoch, counts)
        return self._arrange(positions, epochs, batch_size=order.batch_size, seed=order.seed, shuffle=order.shuffle)

    def _traced(self, first: tf.Tensor, index: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        order = self._order
        steps = first + tf.range(self._steps, dtype=tf.int64)
        starts, sizes = order.cut(steps)
        sizes = tf.maximum(sizes, 1)  # past the end of an evaluation, one borrowed row
        begins = tf.minimum(sizes * index // count, sizes - 1)
        counts = tf.maximum(sizes * (index + 1) // count - sizes * index // count, 1)
        positions = tf.ragged.range(starts + begins, starts + begins + counts).flat_values
        if order.shuffle and self._arrange is None:
            epochs = tf.repeat(steps // order.batches_per_epoch, counts)
            most = (self._steps - 1) // order.batches_per_epoch + 2
            positions = permuted(positions, epochs, most, order.num_examples, order.seed)
        return positions, counts
