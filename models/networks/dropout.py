"""Dropout that does not depend on the number of replicas."""

from __future__ import annotations

import random
from typing import Any

import gin
import keras
import tensorflow as tf

from ...data.checks import number
from ...data.feeds.replica_share import ReplicaShare

_PHILOX = 1  # TensorFlow's number of this generator
_BLOCK = 4  # random numbers per value of Philox's counter


def dropout_rate(binding: str, rate: Any) -> float:
    """Return a rate of dropout if it is one.

    Args:
      binding: what was bound, for the message: "mlp.dropout".
      rate: its value.

    Raises:
      UsageError: it is not a number in [0, 1).
    """
    return number(binding, rate, least=0, below=1)


@gin.register(module="tallyloop")
@keras.saving.register_keras_serializable("tallyloop")
class InvariantDropout(keras.layers.Layer):
    """Dropout whose mask for an example depends on the example's position in the global batch, not on its replica.

    A run with it trains to the same weights on any number of replicas and workers. With `keras.layers.Dropout` it does
    not: there, each replica draws masks of its own. The random numbers are as many as Keras draws: each replica enters the
    generator (Philox) at the position of its first example. The first axis of the inputs must be the batch, or batch and
    time merged. Two views of a batch concatenated along it are not supported.

    Args:
      rate: the fraction of the inputs dropped in training, in [0, 1); the others are scaled by 1 / (1 - rate).
      seed: the seed of the masks; None draws one from Python's generator, which `Trainer.seed` sets.

    Raises:
      UsageError: the rate is not in [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = dropout_rate("InvariantDropout.rate", rate)
        self.seed = seed
        self.supports_masking = True
        self.built = True
        # A variable, so that all workers use the chief's value, and a rerun that of the run it continues.
        first = [random.randint(1, 10**9) if seed is None else seed, 0]
        self.state = self.add_weight(
            shape=(2,),
            dtype="int64",
            initializer=lambda shape, dtype: tf.constant(first, dtype),
            trainable=False,
            name="seed_and_calls",
        )

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the inputs, some of them dropped if `training`; the first axis is the batch, or batch and time merged."""
        if not training or self.rate == 0:
            return inputs
        keep = self._uniform(inputs) >= self.rate
        self.state.assign_add(tf.constant([0, 1], tf.int64))
        return tf.where(keep, inputs / tf.cast(1 - self.rate, inputs.dtype), tf.zeros([], inputs.dtype))

    def _uniform(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return numbers in [0, 1), of the inputs' shape; each example has a stretch of the generator of its own."""
        first, rows = self._position(inputs)
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

    def _position(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the position of the first example in the global batch, and the number of examples."""
        share = ReplicaShare.current()
        if share is None:
            return tf.zeros([], tf.int64), tf.shape(inputs, tf.int64)[0]
        return share.first, tf.maximum(share.rows, 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the inputs' shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
