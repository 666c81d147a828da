"""What the compiled loop asks of its data, whatever the source."""

import abc
from collections.abc import Hashable
from typing import Any

import tensorflow as tf

from ...metrics.errors import DataError

Nest = Any  # of tensors


class Feed(abc.ABC):
    """The batches of one training run, or of one evaluation pass after the other.

    A loop over steps [first, first + k) does, in the cross-replica context of any `tf.distribute` strategy:

        plan = feed.plan(first, k)                  # once
        part, n = feed.fetch(plan, i)               # for each i of [0, k), in order
        batch, rows = feed.shard(part, n, replica, replicas)    # in each replica

    All three build graph operations only, so one trace serves the whole run: nothing of `seek` and `rewind`
    changes what was traced. Nothing depends on the number of replicas or workers; every worker makes the same
    calls and takes its replicas' shards.

    Attributes:
      element_spec: a nest of `tf.TensorSpec`, the global batch; its first dimension is None, or the batch
        size when the remainder is dropped.
      num_examples: the examples of an epoch, or None for a stream.
      batches_per_epoch: the steps of an epoch, or None for a stream.
      full_batch: the batch size where no batch is short, else None.
      waits: whether a batch may not be there yet when it is fetched. Arrays are gathered as a part of the step.
    """

    element_spec: Nest
    num_examples: int | None
    batches_per_epoch: int | None
    full_batch: int | None = None
    waits: bool = False

    @abc.abstractmethod
    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> Nest:
        """What `fetch` needs to know of these steps (int64 scalars; steps count from 0). For XLA only where it is `even`."""

    @abc.abstractmethod
    def fetch(self, plan: Nest, i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """What the replicas have in common of the batch at place `i` (int64 scalar) of the plan.

        Returns `part`, to be given to `shard`, and `n`, an int64 scalar: the examples of the global batch.
        n = 0 says that an evaluation has ended. The part then holds one example that means nothing (a full
        batch of them when the remainder is dropped), so that a replica which runs on it all the same does
        not run on an empty batch; `shard` gives it rows = 0.

        Raises:
          tf.errors.OutOfRangeError: a training stream gave a pass without an example, at run time.
        """

    def steps_to_plan(self, longest: int) -> int:
        """How many steps are best planned at once, where a loop has up to `longest` of them."""
        return longest

    def even(self) -> "Feed | None":
        """The same feed for a loop that XLA compiles whole; None if it cannot be compiled."""
        return None

    def spans(self, step: int, num_steps: int) -> list[int]:
        """How many steps each call of the loop has to run, so that it runs `num_steps` from `step` on in all."""
        return [num_steps]

    def kind(self, step: int) -> Hashable:
        """Steps of one kind run by what was compiled for the first of them."""
        return None

    def narrowed(self, plan: Nest, step: int) -> Nest:
        """The plan as a span that begins at `step` needs it; eagerly."""
        return plan

    def shard(self, part: Nest, n: tf.Tensor, index: int | tf.Tensor, count: int | tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Replica `index`'s share of the batch: examples [n * index // count, n * (index + 1) // count).

        Returns `batch`, a nest like `element_spec`, and `rows`, an int64 scalar: how many of its examples
        count. An empty share borrows one example of the global batch, with rows = 0, because many kernels
        make NaN of an empty batch. Where no batch is short and `count` is an int that divides it, the
        shapes are static.
        """
        if isinstance(count, int) and count == 1:
            return self.whole(part), n
        index, replicas = tf.cast(index, tf.int64), tf.cast(count, tf.int64)
        with tf.device("CPU:0"):  # cut where the data is, so that only a replica's own rows travel
            begin = n * index // replicas
            rows = n * (index + 1) // replicas - begin
            return self.take(part, begin, self._share_size(rows, count)), rows

    def whole(self, part: Nest) -> Nest:
        """All examples of the batch."""
        with tf.device("CPU:0"):
            return self._examples(part)

    def take(self, part: Nest, begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Examples [begin, begin + size) of the batch, which must be in it; size is at least 1."""
        with tf.device("CPU:0"):
            return self._examples(tf.nest.map_structure(lambda tensor: cut(tensor, begin, size), part))

    @abc.abstractmethod
    def seek(self, step: int) -> None:
        """Position a training feed before `step`, outside the graph, after a checkpoint was restored."""

    @abc.abstractmethod
    def rewind(self) -> None:
        """Start an evaluation pass anew, outside the graph."""

    @abc.abstractmethod
    def describe(self, step: int) -> str:
        """Where in the data the batch of a step of training is, so that it can be looked at. Steps count from 0."""

    def skipped(self, part: Nest) -> tf.Tensor | None:
        """How many bad examples were left out beside those of a fetched batch; None for a feed that leaves none out.

        An int64 scalar, of the global batch: in the cross-replica context it is to be added up once a step, not once a
        replica or worker. Over a pass these add up to the number of its bad examples, but for those beside a batch that
        `Input.drop_remainder` drops, which are dropped with it.
        """
        return None

    def data_error(self, error: Exception, step: int) -> DataError | None:
        """What to raise instead of an error of the compiled loop; None if the error is not one of the data.

        Reads the examples again, up to the first that raises, to tell which it is; this may take as long as it took
        to come there.

        Args:
          error: what the loop raised.
          step: the steps that were done when the loop was called, from which on an example was bad; 0 in an evaluation.
        """
        return None

    def checkpoint_items(self) -> dict[str, Any]:
        """What has to be in a `tf.train.Checkpoint` for the feed to go on where it was, by name."""
        return {}

    def _examples(self, share: Nest) -> Nest:
        return share

    def _share_size(self, rows: tf.Tensor, count: int | tf.Tensor) -> int | tf.Tensor:
        if self.full_batch and isinstance(count, int) and self.full_batch % count == 0:
            return self.full_batch // count
        return tf.maximum(rows, 1)


def cut(tensor: tf.Tensor, begin: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Rows [begin, begin + size)."""
    inner = tensor.shape.rank - 1
    rows = tf.slice(tensor, tf.stack([begin] + [tf.zeros([], tf.int64)] * inner), [size] + [-1] * inner)
    rows.set_shape([size if isinstance(size, int) else None, *tensor.shape[1:]])  # not found out by itself
    return rows
