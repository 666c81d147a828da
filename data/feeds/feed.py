"""The interface between the compiled loop and its data, whatever the source."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ...metrics.errors import DataError
from ..elements import Nest

UNLIMITED = 2**62  # steps


class Share(NamedTuple):
    """A part of a batch: examples [n * index // count, n * (index + 1) // count) of n."""

    index: int
    count: int


class Feed(abc.ABC):
    """The global batches of one training run, or of repeated evaluation passes.

    A loop over steps [first, first + k) calls, in the cross-replica context of any `tf.distribute` strategy:

        plan = feed.plan(first, k)                  # once
        part, n = feed.fetch(plan, i)               # for each i of [0, k), in order
        batch, rows = feed.shard(part, n, replica, replicas)    # in each replica

    All three build graph operations only, so one trace serves the whole run: `seek` and `rewind` change nothing that
    was traced. Nothing depends on the number of replicas or workers: every worker makes the same calls and takes
    the shards of its own replicas.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, the global batch. Its first dimension is None, or the batch size if the
        remainder is dropped.
      num_examples: the examples per epoch; None for a stream.
      batches_per_epoch: the steps per epoch; None for a stream.
      full_batch: the batch size if no batch is short, else None.
      local: whether `fetch` gives the part of the batch that this worker's replicas share, which only it reads. An evaluation
        then ends on each worker on its own, and what is skipped is counted there.
      mine: the part of a batch that `fetch` gives, which this worker's replicas share.
      waits: whether `fetch` may have to wait for a batch. Arrays never do: they are gathered as part of the step.
    """

    element_spec: Nest
    num_examples: int | None
    batches_per_epoch: int | None
    full_batch: int | None = None
    local: bool = False
    mine: Share = Share(0, 1)
    waits: bool = False

    @abc.abstractmethod
    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> Nest:
        """Return what `fetch` needs to know about these steps.

        Args:
          first_step: int64 scalar; steps count from 0.
          num_steps: int64 scalar, or an int. XLA compiles it only for an int, and for a feed that is `even`.
        """

    @abc.abstractmethod
    def fetch(self, plan: Nest, i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return what the replicas share of the batch at position `i` (int64 scalar) of the plan.

        Returns:
          `part`, to be passed to `shard`, and `n`, an int64 scalar: the number of examples in the global batch.
          n = 0 means that an evaluation has ended. `part` then holds one meaningless example (a full batch of them if
          the remainder is dropped), so that a replica that runs nevertheless does not run on an empty batch;
          `shard` gives it rows = 0.

        Raises:
          tf.errors.OutOfRangeError: a training stream gave a pass without an example, at run time.
        """

    def steps_to_plan(self, longest: int) -> int:
        """Return the number of steps best planned at once, where a loop has up to `longest`."""
        return longest

    def even(self) -> Feed | None:
        """Return the same feed for a loop that XLA compiles as a whole; None if it cannot be compiled."""
        return None

    def full_batches(self) -> Feed | None:
        """Return the full batches of a pass alone, for an evaluation that XLA compiles; None if it cannot be compiled."""
        return None

    def spans(self, step: int, num_steps: int) -> list[int]:
        """Return the number of steps of each call of the compiled loop; from `step` on they add up to `num_steps`."""
        return [num_steps]

    def kind(self, step: int) -> bool:
        """Return whether the batch is short, as far as that is known: XLA compiles once for each size."""
        if self.full_batch or not self.batches_per_epoch:
            return False
        return (step + 1) % self.batches_per_epoch == 0

    def narrowed(self, plan: Nest, step: int) -> Nest:
        """Return the plan in the shape that a span starting at `step` needs; eagerly."""
        return plan

    def shard(self, part: Nest, n: tf.Tensor, index: int | tf.Tensor, count: int | tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return a replica's share of the batch: examples [n * index // count, n * (index + 1) // count).

        Args:
          part: the batch, from `fetch`, or this worker's part of it.
          n: int64 scalar, the number of its examples.
          index: the number of the replica.
          count: how many replicas there are.

        Returns:
          `batch`, a nest like `element_spec`, and `rows`, an int64 scalar: how many of its examples count. An empty
          share borrows one example of the global batch, with rows = 0, because many kernels turn an empty batch into
          NaN. If no batch is short and `count` is an int that divides it, the shapes are static.
        """
        if isinstance(count, int) and count == 1:
            return self.whole(part), n
        index, replicas = tf.cast(index, tf.int64), tf.cast(count, tf.int64)
        with tf.device("CPU:0"):  # cut where the data is, so that only a replica's own rows travel
            begin = n * index // replicas
            rows = n * (index + 1) // replicas - begin
            if isinstance(count, int) and count == self.mine.count:
                return self.whole(part), rows
            size = self._share_size(rows, count)
            return self.take(part, self._in_part(part, n, begin, size), size), rows

    def first(self, n: tf.Tensor, index: int | tf.Tensor, count: int) -> tf.Tensor:
        """Return the position in the batch of the first example of the share that `shard` cuts."""
        return n * tf.cast(index, tf.int64) // count

    def whole(self, part: Nest) -> Nest:
        """Return all examples of the batch."""
        with tf.device("CPU:0"):
            return self._examples(part)

    def take(self, part: Nest, begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Return examples [begin, begin + size) of the batch; they must be in it, and size is at least 1."""
        with tf.device("CPU:0"):
            return self._examples(tf.nest.map_structure(lambda tensor: cut(tensor, begin, size), part))

    def first_batch(self) -> Nest:
        """Return the first global batch of a newly opened feed in NumPy; of a feed with a `mine`, this worker's part of it."""
        step = tf.zeros([], tf.int64)
        part, _ = self.fetch(self.plan(step, step + 1), step)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), self.whole(part))

    @abc.abstractmethod
    def seek(self, step: int) -> None:
        """Position the feed before `step`, outside the graph; a stream in training only, after a checkpoint was restored."""

    @abc.abstractmethod
    def rewind(self) -> None:
        """Start an evaluation pass again, outside the graph."""

    def describe(self, step: int) -> str:
        """Return where in the data the batch of a step of training is: "batch 3 of epoch 1 (counted from 0)"."""
        if self.batches_per_epoch is None:
            return f"batch {step} of the stream (counted from 0)"
        return f"batch {step % self.batches_per_epoch} of epoch {step // self.batches_per_epoch} (counted from 0)"

    def rows(self, step: int) -> np.ndarray | None:
        """Return the numbers of the rows of the source in the global batch of a step of training; None if they have none."""
        return None

    def skipped(self, part: Nest) -> tf.Tensor | None:
        """Return the number of bad examples skipped next to those of a fetched batch; None if the feed skips none.

        An int64 scalar for the global batch: add it up once per step in the cross-replica context, not once per replica
        or worker. Over a pass it adds up to the number of bad examples, except those next to a batch that
        `Input.drop_remainder` drops, which are dropped with it.
        """
        return None

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """Return what to raise in place of an error of the compiled loop; None if the data did not cause it.

        This reads the examples again, up to the first that raises, to find out which it is. It may take as long as
        it took to get there.

        Args:
          error: what the loop raised.
          step: the number of steps done when the loop was called; an example from there on was bad. 0 in an evaluation.
        """
        return None

    @property
    def described(self) -> str | None:
        """The content that all workers must have, if each reads another part of the data; None: the same first batch."""
        return None

    def before_save(self, total: Callable[[np.ndarray], np.ndarray]) -> None:  # noqa: B027  # nothing to do is a default
        """Bring `checkpoint_items` up to date; on every worker. `total` adds an int64 array up over the workers."""

    def checkpoint_items(self) -> dict[str, Any]:
        """Return what a `tf.train.Checkpoint` must hold for the feed to continue where it was, by name."""
        return {}

    def _examples(self, share: Nest) -> Nest:
        return share

    def _in_part(self, part: Nest, n: tf.Tensor, begin: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
        """Return where in `part` a share begins that begins at `begin` of the batch."""
        if self.mine.count == 1:
            return begin
        first = n * self.mine.index // self.mine.count
        length = tf.shape(tf.nest.flatten(self.whole(part))[0], tf.int64)[0]
        # An empty share borrows an example, and may begin where the part ends.
        return tf.minimum(begin - first, length - tf.cast(size, tf.int64))

    def _share_size(self, rows: tf.Tensor, count: int | tf.Tensor) -> int | tf.Tensor:
        if self.full_batch and isinstance(count, int) and self.full_batch % count == 0:
            return self.full_batch // count
        return tf.maximum(rows, 1)


def cut(tensor: tf.Tensor, begin: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Return rows [begin, begin + size) of a tensor, with the static shape of a row."""
    inner = tensor.shape.rank - 1
    rows = tf.slice(tensor, tf.stack([begin] + [tf.zeros([], tf.int64)] * inner), [size] + [-1] * inner)
    rows.set_shape([size if isinstance(size, int) else None, *tensor.shape[1:]])  # TensorFlow does not infer it
    return rows
