"""The feeds of arrays in memory: they reach any step at once, and keep no state."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from ..elements import Nest
from .feed import UNLIMITED, Feed, cut
from .order import Order

_ROWS_NAMED = 64  # the most rows in a description of a batch
_STEPS_PLANNED, _ROWS_PLANNED = 1024, 2**15  # at once, at most


class ArrayFeed(Feed):
    """Batches of the rows of `tensors` in a given order.

    The replicas share the row numbers of a batch; each replica gathers only its own rows. The traced function captures
    the tensors without copying them, and they stay in host memory.

    Args:
      tensors: a nest of tensors of the same length.
      order: the order of their rows.
    """

    def __init__(self, tensors: Nest, order: Order):
        self._tensors = tensors
        self._order = order
        self.full_batch: int | None = order.full_batch
        self.num_examples: int | None = order.num_examples
        self.batches_per_epoch: int | None = order.batches_per_epoch
        self.element_spec: Nest = tf.nest.map_structure(self._spec, tensors)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Return (rows int64 [num_steps, B], sizes int64 [num_steps]), without the sizes if all are B; see `Order.plan`."""
        with tf.device("CPU:0"):
            plan = self._order.plan(first_step, num_steps)
            return plan[:1] if self._order.endless and self.full_batch else plan

    def fetch(self, plan: tuple[tf.Tensor, ...], i: tf.Tensor) -> tuple[Nest, tf.Tensor]:
        """Return (the row numbers of the batch, int64 [n]; n). Past the end, n is 0 and the rows are arbitrary."""
        rows, *sizes = plan
        with tf.device("CPU:0"):
            rows = tf.gather(rows, i)  # one operation, where rows[i] is four
            size = sizes[0][i] if sizes else tf.constant(self._order.batch_size, tf.int64)
            return (rows if self.full_batch else rows[: tf.maximum(size, 1)]), size

    def steps_to_plan(self, longest: int) -> int:
        """Return a number of steps for which planning takes little time per step, and little memory."""
        return max(longest, min(_STEPS_PLANNED, _ROWS_PLANNED // self._order.batch_size))

    def even(self) -> Feed:
        """Return the same batches for a loop that is compiled as a whole."""
        return EvenArrayFeed(self._tensors, self._order)

    def seek(self, step: int) -> None:
        """Do nothing: `plan` is given the step."""

    def rewind(self) -> None:
        """Do nothing: a pass is the plan of steps [0, batches_per_epoch)."""

    def describe(self, step: int) -> str:
        """Return the epoch, the batch, and the rows of the arrays."""
        found = self.rows(step).tolist()
        more = f" and {len(found) - _ROWS_NAMED} more" if len(found) > _ROWS_NAMED else ""
        return f"{super().describe(step)}, rows {found[:_ROWS_NAMED]}{more} of the source"

    def rows(self, step: int) -> np.ndarray:
        """Return the rows of the arrays, int64 (n,)."""
        rows, sizes = self._order.plan(tf.constant(step, tf.int64), tf.constant(1, tf.int64))
        return rows[0, : int(sizes[0])].numpy()

    def _examples(self, share: tf.Tensor) -> Nest:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, share), self._tensors)

    def _spec(self, tensor: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([self.full_batch, *tensor.shape[1:]], tensor.dtype)


class EvenArrayFeed(ArrayFeed):
    """Batches for a loop that XLA compiles, fetching included: XLA must know the size of a batch.

    So all batches of a plan have the same size, and a loop is divided into `spans`.
    """

    def spans(self, step: int, num_steps: int) -> list[int]:
        """Return spans that begin and end at each short batch."""
        end, found = step + num_steps, []
        while step < end:
            found.append(min(self._steps_of_this_size(step), end - step))
            step += found[-1]
        return found

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (rows int64 [num_steps, batch size],)."""
        return (super().plan(first_step, num_steps)[0],)

    def narrowed(self, plan: tuple[tf.Tensor], step: int) -> tuple[tf.Tensor]:
        """Return the plan with as many rows as the batch of `step` has."""
        order = self._order
        short = order.num_examples - (order.batches_per_epoch - 1) * order.batch_size
        return (plan[0][:, :short],) if self.kind(step) else plan

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (the row numbers of the batch, int64 [n]; n)."""
        # Not plan[0][i]: XLA needs the position of a slice as a constant, and would compile again for each.
        return tf.gather(plan[0], i), tf.shape(plan[0], tf.int64)[1]

    def _steps_of_this_size(self, step: int) -> int:
        """Return how many steps from this one on have batches of the same size."""
        if self.full_batch:
            return UNLIMITED
        return 1 if self.kind(step) else self._order.batches_per_epoch - 1 - step % self._order.batches_per_epoch


class SlicedFeed(ArrayFeed):
    """Batches in the order of the arrays: slices of them. There is nothing to plan, and nothing to gather."""

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (the first step,)."""
        return (tf.identity(first_step),)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        """Return ((the first row of the batch, how many rows follow it at least), n)."""
        with tf.device("CPU:0"):
            start, size = self._order.cut(plan[0] + i)
            return (start, tf.maximum(size, 1)), size

    def steps_to_plan(self, longest: int) -> int:
        """Return UNLIMITED: a plan is the same for any number of steps."""
        return UNLIMITED

    def full_batches(self) -> Feed | None:
        """Return the batches without a short one at the end, if there are any."""
        order = dataclasses.replace(self._order, drop_remainder=True)
        return FullSlicesFeed(self._tensors, order) if order.batches_per_epoch else None

    def whole(self, part: tuple[tf.Tensor, tf.Tensor]) -> Nest:
        """Return all examples of the batch."""
        return self.take(part, tf.zeros([], tf.int64), self.full_batch or part[1])

    def take(self, part: tuple[tf.Tensor, tf.Tensor], begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Return examples [begin, begin + size) of the batch."""
        with tf.device("CPU:0"):
            return tf.nest.map_structure(lambda tensor: cut(tensor, part[0] + begin, size), self._tensors)


class FullSlicesFeed(ArrayFeed):
    """One pass over the full batches in the order of the arrays, for a loop that XLA compiles: the same batches as slices."""

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """Return (the first step,)."""
        return (tf.identity(first_step),)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return (the row numbers of the batch, int64 [n]; n). XLA gathers rows, and would compile each slice anew."""
        size = self._order.batch_size
        return (plan[0] + i) * size + tf.range(size, dtype=tf.int64), tf.constant(size, tf.int64)
