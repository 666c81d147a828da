"""Which rows of the arrays each step sees: a pure function of the step's number."""

import dataclasses

import tensorflow as tf

from .permutation import permuted


@dataclasses.dataclass(frozen=True)
class Order:
    """The cutting of `num_examples` rows into batches, epoch after epoch.

    An epoch has every row once, in ceil(num_examples / batch_size) batches of which the last may be short;
    with `drop_remainder` it has the floor of that, all full. With `shuffle`, epoch e is in the order of a
    pseudo-random permutation of (seed, e), else in the order of the arrays. Without `endless` there is
    nothing after the first epoch.
    """

    num_examples: int
    batch_size: int
    shuffle: bool
    seed: int
    drop_remainder: bool
    endless: bool

    @property
    def batches_per_epoch(self) -> int:
        """The number of steps that one epoch takes."""
        if self.drop_remainder:
            return self.num_examples // self.batch_size
        return -(-self.num_examples // self.batch_size)

    @property
    def full_batch(self) -> int | None:
        """The batch size where no batch is short."""
        return self.batch_size if self.drop_remainder or self.num_examples % self.batch_size == 0 else None

    def describe(self, step: int) -> str:
        """Such as "batch 3 of epoch 1", both counted from 0."""
        return f"batch {step % self.batches_per_epoch} of epoch {step // self.batches_per_epoch} (counted from 0)"

    def cut(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Where in its epoch the batch of each step begins, and its size: 0 past the end. All int64, of one shape."""
        starts = steps % self.batches_per_epoch * self.batch_size
        sizes = tf.minimum(tf.constant(self.batch_size, tf.int64), self.num_examples - starts)
        return starts, sizes if self.endless else tf.where(steps < self.batches_per_epoch, sizes, 0)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The rows of `num_steps` steps from `first_step` on (both int64 scalars; steps count from 0).

        Returns `rows`, int64 [num_steps, batch_size], and `sizes`, int64 [num_steps]: how many of a step's
        rows are real, 0 past the end. The others are valid row numbers that mean nothing. At least one step.
        With an int for `num_steps` the shapes are static, and XLA can compile it.
        """
        num_epochs = (num_steps - 1) // self.batches_per_epoch + 2
        num_steps = tf.convert_to_tensor(num_steps, tf.int64)
        steps = first_step + tf.range(num_steps)
        starts, sizes = self.cut(steps)
        within = tf.range(self.batch_size, dtype=tf.int64)
        positions = tf.minimum(starts[:, tf.newaxis] + within, self.num_examples - 1)
        if self.shuffle:
            positions = self._shuffled(positions, steps // self.batches_per_epoch, num_epochs)
        return positions, sizes

    def _shuffled(self, positions: tf.Tensor, epochs: tf.Tensor, num_epochs: int | tf.Tensor) -> tf.Tensor:
        each = tf.reshape(tf.broadcast_to(epochs[:, tf.newaxis], tf.shape(positions)), [-1])
        flat = permuted(tf.reshape(positions, [-1]), each, num_epochs, self.num_examples, self.seed)
        return tf.reshape(flat, tf.shape(positions))
