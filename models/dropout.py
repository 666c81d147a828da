"""Dropout that does not depend on the number of replicas."""

from __future__ import annotations

import random

import gin
import keras
import tensorflow as tf

from ..data.feeds.replica_share import ReplicaShare
from ..metrics.errors import UsageError

_PHILOX = 1  # the generator's number in TensorFlow
_BLOCK = 4  # the numbers that one count of Philox's counter gives


@gin.register(module="tallyloop")
@keras.saving.register_keras_serializable("tallyloop")
class InvariantDropout(keras.layers.Layer):
    """Dropout whose mask of an example depends on the example's place in the global batch, not on the replica it is on.

    A run with it trains to the same weights on any number of replicas and workers, which `keras.layers.Dropout` cannot:
    there, each replica draws masks of its own. It costs nothing more: the random generator (Philox) is entered
    at the place of the replica's first example. The first axis of its inputs must be the batch, or batch and time in
    one; two views of a batch that are put one behind the other are not.

    Args:
      rate: the fraction of the inputs that is dropped in training, in [0, 1); the others are scaled by 1 / (1 - rate).
      seed: of the masks; None draws one from Python's generator, which `Trainer.seed` sets.

    Raises:
      UsageError: the rate is not in [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise UsageError(f"InvariantDropout.rate = {rate!r}: wanted a number of at least 0 and below 1.")
        self.rate = rate
        self.seed = seed
        self.supports_masking = True
        self.built = True
        # A variable, so that all workers have the chief's, and a rerun has that of the run it continues.
        first = [random.randint(1, 10**9) if seed is None else seed, 0]
        self.state = self.add_weight(
            shape=(2,),
            dtype="int64",
            initializer=lambda shape, dtype: tf.constant(first, dtype),
            trainable=False,
            name="seed_and_calls",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the inputs, some of them dropped if `training`; their first axis is the batch, or begins with it."""
        if not training or self.rate == 0:
            return inputs
        keep = self._uniform(inputs) >= self.rate
        self.state.assign_add(tf.constant([0, 1], tf.int64))
        return tf.where(keep, inputs / tf.cast(1 - self.rate, inputs.dtype), tf.zeros([], inputs.dtype))

    def _uniform(self, inputs: tf.Tensor) -> tf.Tensor:
        """Numbers in [0, 1), those of an example from a stretch of the generator that is the example's own."""
        first, rows = self._place(inputs)
        state = tf.convert_to_tensor(self.state.value)
        size = tf.size(inputs, tf.int64) // rows
        blocks = (size + _BLOCK - 1) // _BLOCK
        numbers = tf.raw_ops.StatelessRandomUniformV2(
            shape=tf.stack([rows, blocks * _BLOCK]),
            key=tf.cast(state[:1], tf.uint64),
            counter=tf.cast(tf.stack([first * blocks, state[1]]), tf.uint64),
            alg=_PHILOX,
        )
        return tf.reshape(numbers[:, :size], tf.shape(inputs))

    def _place(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The place of the first example in the global batch, and the number of examples."""
        working = ReplicaShare.current()
        if working is None:
            return tf.zeros([], tf.int64), tf.shape(inputs, tf.int64)[0]
        return working.first, tf.maximum(working.rows, 1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The inputs' shape."""
        return input_shape

    def get_config(self) -> dict:
        """What `from_config` needs."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
