"""BatchNormalization(synchronized=True), exact for any shares of the batch."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ..step.reduction import sum_over_replicas
from .layers import layers_of


def make_exact(model: keras.Model, communicates: bool, compiled: bool) -> None:
    """Lets the synchronised BatchNorm layers of a model take their moments over the global batch.

    Keras's own would count the borrowed example of a replica without examples, ignores a mask's share on other replicas,
    and subtracts squares of large numbers. There is no public way to change how a layer takes its moments: the method
    `_moments(inputs, mask)` is replaced on the user's layers.

    Args:
      model: whose layers.
      communicates: there are several replicas.
      compiled: the forward pass is compiled with XLA, which cannot wait for other replicas.

    Raises:
      UsageError: it communicates and is compiled.
    """
    layers = [
        layer for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized
    ]
    if layers and communicates and compiled:
        raise UsageError(
            "Trainer.jit_compile = True compiles each replica for itself, and BatchNormalization(synchronized=True) asks "
            f"the others in the middle ({layers[0].path}): turn one of the two off."
        )
    for layer in layers:
        assert hasattr(layer, "_moments"), "Keras takes the moments of BatchNormalization elsewhere now"
        layer._moments = _Moments(layer._reduction_axes)


def local_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The trained BatchNorm layers that normalise by each replica's own share."""
    layers = (layer for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization))
    return [layer for layer in layers if layer.trainable and not layer.synchronized]


class _Moments:
    """Mean and variance over the examples of all replicas, by two sums: the second is of squared differences."""

    def __init__(self, axes: list[int]):
        self._axes = axes

    def __call__(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self._weights(inputs, mask)
        count = _over_replicas(tf.reduce_sum(tf.broadcast_to(weights, tf.shape(inputs)), self._axes))
        count = tf.maximum(count, 1.0)
        mean = self._sum(weights, inputs) / count
        centred = inputs - tf.reshape(mean, self._shape(inputs))
        return mean, self._sum(weights, tf.square(centred)) / count

    def _weights(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """1 for what counts, else 0; of a shape that broadcasts to the inputs'."""
        working = ReplicaShare.current()
        active = tf.ones([], inputs.dtype) if working is None else tf.cast(working.rows > 0, inputs.dtype)
        if mask is None:
            return active
        return active * tf.cast(mask, inputs.dtype)[..., tf.newaxis]

    def _sum(self, weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        return _over_replicas(tf.reduce_sum(tf.where(weights > 0, values, 0.0), self._axes))

    def _shape(self, inputs: tf.Tensor) -> list[int]:
        return [1 if axis in self._axes else size for axis, size in enumerate(inputs.shape)]


@tf.custom_gradient
def _over_replicas(value: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """The sum over all replicas, in each of them; whose gradient is the sum of all their gradients."""
    return _summed(value), _summed


def _summed(value: tf.Tensor) -> tf.Tensor:
    """`ReplicaContext.all_reduce` would do, but a process could then not use strategies of two sizes (TensorFlow 2.21)."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tf.identity(value)
    return context.merge_call(lambda strategy, mine: sum_over_replicas(strategy, mine), args=(value,))
