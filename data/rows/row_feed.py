"""The feed of rows by number: each replica's own rows, read ahead of the step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError, UsageError
from ..elements import Nest
from ..feeds.feed import Feed
from ..feeds.order import Order
from .processes import Processes
from .reader import Reader
from .rows import Rows, element_spec
from .shares import Share, Shares
from .transforms import Examples, Mapped, Transform

_AHEAD = 8  # steps


class RowFeed(Feed):
    """Batches of rows that are read by number, in the order of arrays of the same length.

    A worker reads only the rows of its own replicas. Threads read the steps to come.

    Args:
      rows: the source.
      order: the order of its rows.
      transform: `Input.transform`, or None.
      map_fn: `Input.map_fn`, or None.
      threads: `Input.read_threads`.
      processes: `Input.read_processes`.
    """

    waits = True

    def __init__(
        self,
        rows: Rows,
        order: Order,
        transform: Transform | None = None,
        map_fn: Callable[..., Any] | None = None,
        threads: int = 2,
        processes: int = 0,
    ):
        self._rows = rows
        self._order = order
        examples = Examples(rows, transform, order.seed)
        spec = element_spec(rows)
        if transform is not None:
            first = examples.read(0, np.zeros(1, np.int64))
            spec = element_spec(Rows(1, lambda _: first))
        self._read = Processes(examples, processes).read if processes else examples.read
        self._mapped = None if map_fn is None else Mapped(map_fn, spec, order.seed)
        self._element: Nest = spec if self._mapped is None else self._mapped.element_spec
        self._shares = Shares(order)
        end = None if order.endless else order.batches_per_epoch
        # A thread waits for each process, which has a step of its own; as many as without processes apply `map_fn`.
        ahead = _AHEAD + processes
        self._reader: Reader[list[np.ndarray]] = Reader(self._load, threads + processes, ahead, end)
        self._note = tf.Variable(tf.constant(self._described()), trainable=False, name="rows")
        self.full_batch: int | None = order.full_batch
        self.num_examples: int | None = order.num_examples
        self.batches_per_epoch: int | None = order.batches_per_epoch
        self.element_spec: Nest = tf.nest.map_structure(
            lambda each: tf.TensorSpec([self.full_batch, *each.shape], each.dtype), self._element
        )

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (the first step,)."""
        return (tf.identity(first_step),)

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
            types = [spec.dtype for spec in tf.nest.flatten(self._element)]
            found = tf.nest.flatten(tf.numpy_function(self._take, [part, index, replicas], types))
            size = self._share_size(rows, count)
            static = size if isinstance(size, int) else None
            specs = tf.nest.flatten(self._element)
            found = [tf.ensure_shape(each, [static, *spec.shape]) for each, spec in zip(found, specs, strict=True)]
            return tf.nest.pack_sequence_as(self._element, found), rows

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
        """Return what must be the same on a rerun; the place is the step alone."""
        return {"rows": self._note}

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

    def _wait(self, step: np.ndarray) -> np.ndarray:
        self._reader.wait(int(step))
        return step

    def _take(self, step: np.ndarray, index: np.ndarray, count: np.ndarray) -> list[np.ndarray]:
        return self._reader.take(int(step), Share(int(index), int(count)))

    def _load(self, step: int, share: Share) -> list[np.ndarray]:
        epoch, rows = self._shares.rows(step, share)
        found = self._read(epoch, rows)
        if self._mapped is not None:
            found = self._mapped(found, epoch, rows)
        tf.nest.assert_same_structure(found, self._element)
        return tf.nest.flatten(found)
