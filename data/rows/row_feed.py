"""The feed of rows by number: each replica's own rows, read ahead of the step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError, UsageError
from ..elements import Nest, batch_spec
from ..feeds.feed import Feed
from ..feeds.order import Order
from .loader import Loader
from .reader import Reader
from .rows import Rows
from .shares import Share

_AHEAD = 8  # steps

T = TypeVar("T")


class ReadingFeed(Feed, Generic[T]):
    """What the feeds of rows by number share: threads that read ahead, and the note in the checkpoint.

    Args:
      rows: the source.
      order: the order of its rows.
      element_spec: a nest of `tf.TensorSpec`, a single example.
      load: (step, share) -> what a replica gets; called in the threads.
      threads: `Input.read_threads`.
      processes: `Input.read_processes`, each of which has a step of its own, and a thread that waits for it.
    """

    waits = True

    def __init__(
        self,
        rows: Rows,
        order: Order,
        element_spec: Nest,
        load: Callable[[int, Share], T],
        threads: int,
        processes: int = 0,
    ):
        self._rows = rows
        self._order = order
        self._element = element_spec
        end = None if order.endless else order.batches_per_epoch
        self._reader: Reader[T] = Reader(load, threads + processes, _AHEAD + processes, end)
        self._note = tf.Variable(tf.constant(self._described()), trainable=False, name="rows")
        self.num_examples: int | None = order.num_examples
        self.batches_per_epoch: int | None = order.batches_per_epoch
        self.element_spec: Nest = batch_spec(element_spec, self.full_batch)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (the first step,)."""
        return (tf.identity(first_step),)

    def seek(self, step: int) -> None:
        """Forget what was read ahead; check that a restored run had the same rows.

        Raises:
          UsageError: it had not.
        """
        self._reader.forget()
        before, now = (json.loads(bytes(text)) for text in (self._note.numpy(), self._described().encode()))
        differing = [key for key in now if before[key] != now[key]]
        if differing:
            key = differing[0]
            raise UsageError(
                f"The train data: expected {key} = {before[key]!r}, as in the checkpoint, got {now[key]!r}: continue with the "
                "same data, seed and batch size, or choose another --model_dir."
            )

    def rewind(self) -> None:
        """Forget what was read ahead: a pass begins again."""
        self._reader.forget()

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """Return the error of the reader, which names the row."""
        found = self._reader.error
        return found if isinstance(found, DataError) else None

    def checkpoint_items(self) -> dict[str, Any]:
        """Return what must be the same on a rerun, of rows that are not in memory; the place is the step alone."""
        return {} if self._rows.in_memory else {"rows": self._note}

    def _described(self) -> str:
        order = self._order
        return json.dumps(
            {
                "length": order.num_examples,
                "seed": order.seed,
                "global_batch_size": order.batch_size,
                "fingerprint": self._rows.fingerprint,
            }
        )

    def _shaped(self, flat: list[tf.Tensor], size: int | None) -> Nest:
        """Return stacked examples, which TensorFlow got from Python, with their static shapes."""
        flat = tf.nest.flatten(flat)  # eagerly, TensorFlow takes a single one out of its list
        specs = tf.nest.flatten(self._element)
        shaped = [tf.ensure_shape(each, [size, *spec.shape]) for each, spec in zip(flat, specs, strict=True)]
        return tf.nest.pack_sequence_as(self._element, shaped)

    def _types(self) -> list[tf.DType]:
        return [spec.dtype for spec in tf.nest.flatten(self._element)]


class RowFeed(ReadingFeed[list[np.ndarray]]):
    """Batches of rows that are read by number, in the order of arrays of the same length.

    A worker reads only the rows of its own replicas.

    Args:
      rows: the source.
      order: the order of its rows.
      loader: loads the examples of these rows.
      threads: `Input.read_threads`.
    """

    def __init__(self, rows: Rows, order: Order, loader: Loader, threads: int = 2):
        self.full_batch: int | None = order.full_batch
        super().__init__(rows, order, loader.element_spec, loader.share, threads, loader.processes)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (the step, n), once the rows of this process have been read."""
        with tf.device("CPU:0"):
            step = plan[0] + i
            _, size = self._order.cut(step)
            return tf.ensure_shape(tf.numpy_function(self._wait, [step], tf.int64), []), size

    def shard(
        self, part: tf.Tensor, n: tf.Tensor, index: int | tf.Tensor, count: int | tf.Tensor
    ) -> tuple[Nest, tf.Tensor]:
        """Return a replica's share of the batch; see `Feed.shard`."""
        with tf.device("CPU:0"):
            index, replicas = tf.cast(index, tf.int64), tf.cast(count, tf.int64)
            rows = n * (index + 1) // replicas - n * index // replicas
            found = tf.numpy_function(self._take, [part, index, replicas], self._types())
            size = self._share_size(rows, count)
            return self._shaped(found, size if isinstance(size, int) else None), rows

    def _wait(self, step: np.ndarray) -> np.ndarray:
        self._reader.wait(int(step))
        return step

    def _take(self, step: np.ndarray, index: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
        return self._reader.take(int(step), Share(int(index), int(count)))
