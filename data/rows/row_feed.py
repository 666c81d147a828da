"""The feed of rows by number: this worker's own rows, read ahead of the step."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError
from ..checks import with_fix
from ..elements import Nest, batch_spec
from ..feeds.feed import UNLIMITED, Feed, Share
from ..feeds.order import Order
from ..messages.failures import message, reason
from ..same_data import SameData
from .loader import Loader
from .reader import Flat, Reader
from .rows import Rows

_WHOLE = Share(0, 1)
_MISSED = "the rows of this step were not read"


class ReadingFeed(Feed, abc.ABC):
    """The base of the feeds of rows by number: the reader, and the note in the checkpoint.

    Args:
      rows: the source.
      order: the order of its rows.
      loader: loads the examples of these rows.
      threads: `Input.read_threads`. Each of `Input.read_processes` has a thread more, which waits for it.
      specs: what `_load` gives of a step.
      finish: what the graph makes of that, or None; see `Reader`.
      finished: the specs of what it makes.
    """

    waits = True

    def __init__(
        self,
        rows: Rows,
        order: Order,
        loader: Loader,
        threads: int,
        specs: Sequence[tf.TensorSpec],
        finish: Callable[[Flat, int], tf.data.Dataset[Any]] | None = None,
        finished: Sequence[tf.TensorSpec] = (),
    ):
        self._rows = rows
        self._order = order
        self._loader = loader
        end = None if order.endless else order.batches_per_epoch
        self._reader = Reader(self._load, self._alike, specs, threads + loader.processes, end, finish, finished)
        noted = {
            "length": order.num_examples,
            "seed": order.seed,
            "global_batch_size": order.batch_size,
            "fingerprint": rows.fingerprint,
            "shuffle": order.shuffle,
            "drop_remainder": order.drop_remainder,
        }
        self._same = SameData("rows", noted)
        self.num_examples: int | None = order.num_examples
        self.batches_per_epoch: int | None = order.batches_per_epoch
        self.element_spec: Nest = batch_spec(loader.element_spec, self.full_batch)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (the first step,)."""
        return (tf.identity(first_step),)

    def steps_to_plan(self, longest: int) -> int:
        """Return UNLIMITED: a plan is the same for any number of steps."""
        return UNLIMITED

    def seek(self, step: int) -> None:
        """Read from `step` on; check that a restored run had the same rows.

        Raises:
          UsageError: it had not.
        """
        self._reader.restart(step)
        self._same.hold()
        self._same.check("data, seed and batch size")

    def rewind(self) -> None:
        """Read from the start: a pass begins again."""
        self._reader.restart(0)

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """Return the error of the reader, or of `map_fn`, which names the row."""
        missed = _MISSED in message(error)
        if "IteratorGetNext" not in message(error) and not missed:
            return None
        found = self._of_map_fn(step) or self._reader.error
        if found is None and self._loader.maps and not missed:
            place = f"Input.map_fn, a row of the source, which did not raise again: {reason(error)}"
            return DataError(with_fix(place), may_pass=True)
        return found if isinstance(found, DataError) else None

    def before_save(self, total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Put the note where it is saved."""
        self._same.hold()

    def checkpoint_items(self) -> dict[str, Any]:
        """Return what must be the same on a rerun; the place is the step alone."""
        # Checkpoints of earlier versions have no note of rows in memory.
        return {"rows": self._same.holder if self._rows.in_memory else self._same.variable}

    @abc.abstractmethod
    def _load(self, step: int, count: int) -> Sequence[np.ndarray]:
        """Return the arrays of `count` steps; see `Reader`."""

    def _alike(self, step: int) -> int:
        """Return how many steps may be loaded at once; see `Reader`."""
        return 1

    def _of_map_fn(self, step: int) -> Exception | None:
        return None

    def _fetched(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, Flat]:
        """Return (the step, its arrays), of the step at position `i` of the plan, which has to be the next one.

        Raises:
          tf.errors.InvalidArgumentError: it is not. Whatever counts the examples has to depend on the step that is returned.
        """
        step = plan[0] + i
        found, flat = self._reader.next()
        with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.equal(step, found), data=[_MISSED, step, found])]):
            return tf.identity(step), flat


class RowFeed(ReadingFeed):
    """Batches of rows that are read by number, in the order of arrays of the same length.

    A worker reads only the rows of its own replicas.

    Args:
      rows: the source.
      order: the order of its rows.
      loader: loads the examples of these rows.
      threads: `Input.read_threads`.
      mine: the part of each batch that this worker reads.
    """

    def __init__(self, rows: Rows, order: Order, loader: Loader, threads: int = 2, mine: Share = _WHOLE):
        self.full_batch: int | None = order.full_batch
        self.mine: Share = mine
        size = self._size(order.full_batch) if order.full_batch else None
        specs = loader.specs(size)
        self._one_shape = all(spec.shape[1:].is_fully_defined() for spec in specs)
        finished = tf.nest.flatten(batch_spec(loader.element_spec, size))
        super().__init__(rows, order, loader, threads, specs, loader.finish if loader.maps else None, finished)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return (this worker's examples of the batch, n)."""
        with tf.device("CPU:0"):
            step, flat = self._fetched(plan, i)
            _, n = self._order.cut(step)
            return tf.nest.pack_sequence_as(self._loader.element_spec, flat), n

    def first_batch(self) -> Nest:
        """Return this worker's examples of the first global batch, which is not read ahead of; see `Feed.first_batch`."""
        return self._loader.share(0, self.mine)

    @property
    def described(self) -> str:
        """The content that all workers must have: the note, and the first example if no fingerprint covers the rest."""
        if self._rows.covers_content:
            return self._same.text
        return f"{self._same.text}, row 0 {self._loader.digest_of_first()}"

    def rows(self, step: int) -> np.ndarray:
        """Return the numbers of all rows of the batch, int64 (n,)."""
        return self._loader.rows(step, _WHOLE)

    def _size(self, n: int) -> int:
        """Return how many of n examples this worker reads: one borrowed example if none is its own."""
        return max(n * (self.mine.index + 1) // self.mine.count - n * self.mine.index // self.mine.count, 1)

    def _load(self, step: int, count: int) -> Sequence[np.ndarray]:
        return self._loader.block(step, count, self.mine)

    def _alike(self, step: int) -> int:
        """Return how many steps are left in the epoch, without a short one, if all examples have one shape."""
        left = self._order.batches_per_epoch - step % self._order.batches_per_epoch
        return max(1, left - (self.full_batch is None)) if self._one_shape else 1

    def _of_map_fn(self, step: int) -> Exception | None:
        for each in self._reader.untaken(step) if self._loader.maps else ():
            try:
                self._loader.share(each, self.mine)
            except DataError as error:
                return error
        return None
