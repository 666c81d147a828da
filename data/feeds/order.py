"""The rows of the arrays that each step sees: a pure function of the step's number."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from .permutation import permuted


@dataclasses.dataclass(frozen=True)
class Order:
    """The division of `num_examples` rows into batches, epoch after epoch.

    An epoch has every row once, in ceil(num_examples / batch_size) batches, of which the last may be short.

    Attributes:
      num_examples: the number of rows.
      batch_size: the rows per batch.
      shuffle: epoch e is in the order of a pseudo-random permutation of (seed, e), else in the order of the arrays.
      seed: in [0, 2**32).
      drop_remainder: leave out the short batch of an epoch.
      endless: epochs follow each other forever, else there is nothing after the first.
    """

    num_examples: int
    batch_size: int
    shuffle: bool
    seed: int
    drop_remainder: bool
    endless: bool

    @property
    def batches_per_epoch(self) -> int:
        """The number of steps per epoch."""
        if self.drop_remainder:
            return self.num_examples // self.batch_size
        return -(-self.num_examples // self.batch_size)

    @property
    def full_batch(self) -> int | None:
        """The batch size if no batch is short, else None."""
        return self.batch_size if self.drop_remainder or self.num_examples % self.batch_size == 0 else None

    def cut(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the first row of each step's batch in its epoch, and the batch's size, 0 past the end.

        `steps` and both results are int64, of the same shape.
        """
        starts = tf.math.floormod(steps, self.batches_per_epoch) * self.batch_size
        sizes = tf.minimum(tf.constant(self.batch_size, tf.int64), self.num_examples - starts)
        return starts, sizes if self.endless else tf.where(steps < self.batches_per_epoch, sizes, 0)

    def plan(self, first_step: tf.Tensor, num_steps: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the rows of a range of steps.

        Args:
          first_step: int64 scalar; steps count from 0.
          num_steps: int64 scalar, at least 1. With an int the shapes are static, and XLA can compile it.

        Returns:
          `rows`, int64 [num_steps, batch_size], and `sizes`, int64 [num_steps]: how many of a step's rows are real, 0
          past the end. The others are valid row numbers without a meaning.
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
