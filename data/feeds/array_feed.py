"""The feed of arrays in memory: any step is reached at once, and no state is kept."""

import tensorflow as tf

from .feed import Feed, Nest, cut
from .order import Order

_ROWS_NAMED = 64  # of a batch that is described
_STEPS_PLANNED, _ROWS_PLANNED = 1024, 2**15  # at once, at most
_FOR_EVER = 2**62  # steps


class ArrayFeed(Feed):
    """Batches of rows of `tensors`, a nest of tensors of one length, in the order of `order`.

    What the replicas share is the numbers of a batch's rows; each replica gathers only its own rows. The
    tensors are captured by the traced function, not copied into it, and stay in the host's memory.
    """

    def __init__(self, tensors: Nest, order: Order):
        self._tensors = tensors
        self._order = order
        self.full_batch = order.full_batch
        self.num_examples = order.num_examples
        self.batches_per_epoch = order.batches_per_epoch
        self.element_spec = tf.nest.map_structure(self._spec, tensors)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """(rows int64 [num_steps, B], sizes int64 [num_steps]), without the sizes if all are B; see `Order.plan`."""
        with tf.device("CPU:0"):
            plan = self._order.plan(first_step, num_steps)
            return plan[:1] if self._order.endless and self.full_batch else plan

    def fetch(self, plan: tuple[tf.Tensor, ...], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(the row numbers of the batch, int64 [n]; n). Past the end n is 0, and the rows are any."""
        rows, *sizes = plan
        with tf.device("CPU:0"):
            rows = tf.gather(rows, i)  # one operation, where rows[i] is four
            size = sizes[0][i] if sizes else tf.constant(self.full_batch, tf.int64)
            return (rows if self.full_batch else rows[: tf.maximum(size, 1)]), size

    def steps_to_plan(self, longest: int) -> int:
        """So many that a plan costs little a step, and takes little memory."""
        return max(longest, min(_STEPS_PLANNED, _ROWS_PLANNED // self._order.batch_size))

    def even(self) -> Feed:
        """The same batches for a loop that is compiled whole."""
        return EvenArrayFeed(self._tensors, self._order)

    def seek(self, step: int) -> None:
        """Nothing: `plan` is given the step."""

    def rewind(self) -> None:
        """Nothing: a pass is the plan of steps [0, batches_per_epoch)."""

    def describe(self, step: int) -> str:
        """The epoch, the batch, and the rows of the arrays."""
        rows, sizes = self._order.plan(tf.constant(step, tf.int64), tf.constant(1, tf.int64))
        found = rows[0, : int(sizes[0])].numpy().tolist()
        more = f" and {len(found) - _ROWS_NAMED} more" if len(found) > _ROWS_NAMED else ""
        return f"{self._order.describe(step)}, rows {found[:_ROWS_NAMED]}{more} of the source"

    def _examples(self, share: tf.Tensor) -> Nest:
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, share), self._tensors)

    def _spec(self, tensor: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([self.full_batch, *tensor.shape[1:]], tensor.dtype)


class EvenArrayFeed(ArrayFeed):
    """For a loop that XLA compiles, fetching included: it must know the size of a batch.

    So all batches of a plan are of one size, and a loop is cut into `spans`.
    """

    def spans(self, step: int, num_steps: int) -> list[int]:
        """Cuts the steps before and after each short batch."""
        end, found = step + num_steps, []
        while step < end:
            found.append(min(self._to_other_size(step), end - step))
            step += found[-1]
        return found

    def kind(self, step: int) -> bool:
        """Whether the batch is short: XLA compiles for sizes."""
        return self._is_short(step)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """(rows int64 [num_steps, batch size],)."""
        return super().plan(first_step, num_steps)[:1]

    def narrowed(self, plan: tuple[tf.Tensor], step: int) -> tuple[tf.Tensor]:
        """The plan with as many rows as the batch of `step` has."""
        order = self._order
        short = order.num_examples - (order.batches_per_epoch - 1) * order.batch_size
        return (plan[0][:, :short],) if self._is_short(step) else plan

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(the row numbers of the batch, int64 [n]; n)."""
        # Not plan[0][i]: of a slice XLA wants to know the place, and would compile anew for each.
        return tf.gather(plan[0], i), tf.shape(plan[0], tf.int64)[1]

    def _to_other_size(self, step: int) -> int:
        """How many steps from this one on have batches of its size."""
        if self.full_batch:
            return _FOR_EVER
        return 1 if self._is_short(step) else self._order.batches_per_epoch - 1 - step % self._order.batches_per_epoch

    def _is_short(self, step: int) -> bool:
        last = step % self._order.batches_per_epoch == self._order.batches_per_epoch - 1
        return last and not self.full_batch


class SlicedFeed(ArrayFeed):
    """For the order of the arrays: a batch is a slice of them. There is nothing to plan, and nothing to gather."""

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor]:
        """(the first step,)."""
        return (tf.identity(first_step),)

    def fetch(self, plan: tuple[tf.Tensor], i: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        """((the first row of the batch, how many follow it at least), n)."""
        with tf.device("CPU:0"):
            start, size = self._order.cut(plan[0] + i)
            return (start, tf.maximum(size, 1)), size

    def steps_to_plan(self, longest: int) -> int:
        """Any number: they cost nothing."""
        return _FOR_EVER

    def whole(self, part: tuple[tf.Tensor, tf.Tensor]) -> Nest:
        """All examples of the batch."""
        return self.take(part, tf.zeros([], tf.int64), self.full_batch or part[1])

    def take(self, part: tuple[tf.Tensor, tf.Tensor], begin: tf.Tensor, size: int | tf.Tensor) -> Nest:
        """Examples [begin, begin + size) of the batch."""
        with tf.device("CPU:0"):
            return tf.nest.map_structure(lambda tensor: cut(tensor, part[0] + begin, size), self._tensors)
