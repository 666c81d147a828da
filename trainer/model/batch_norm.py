"""BatchNormalization(synchronized=True), exact for any shares of the batch."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ..distribution.reduction import added_up
from .layers import layers_of


def make_exact(model: keras.Model, communicates: bool, compiled: bool) -> None:
    """Make the synchronized BatchNorm layers of a model take their moments over the global batch.

    Keras's own method counts the borrowed example of a replica without examples, ignores a mask's share on other replicas,
    and subtracts squares of large numbers. There is no public way to change how a layer takes its moments: the method
    `_moments(inputs, mask)` is replaced on the user's layers.

    Args:
      model: the model whose layers are changed.
      communicates: whether there are several replicas.
      compiled: whether the forward pass is compiled with XLA, which cannot wait for other replicas.

    Raises:
      UsageError: there are such layers, several replicas, and XLA.
    """
    layers = [
        layer for layer in layers_of(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.synchronized
    ]
    if layers and communicates and compiled:
        raise UsageError(
            "Trainer.jit_compile = True compiles each replica separately, and BatchNormalization(synchronized=True) "
            f"communicates in the middle ({layers[0].path}): turn one of the two off."
        )
    for layer in layers:
        _check_has_moments(layer)
        layer._moments = _Moments(layer._reduction_axes)


def moments_of(layer: Any, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the mean and the variance of each channel, as the BatchNorm layer takes them."""
    _check_has_moments(layer)
    return layer._moments(inputs, None)


def _check_has_moments(layer: keras.layers.BatchNormalization) -> None:
    assert hasattr(layer, "_moments"), "Keras takes the moments of BatchNormalization elsewhere now"


class _Moments:
    """Mean and variance over the examples of all replicas, by two sums: the second is of squared differences."""

    def __init__(self, axes: list[int]):
        self._axes = axes

    def __call__(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        weights = self._weights(inputs, mask)
        count = tf.maximum(added_up(self._count(weights, inputs)), 1.0)

        @tf.custom_gradient
        def moments(inputs: tf.Tensor) -> Any:
            mean = self._sum(weights, inputs) / count
            squares = tf.math.squared_difference(inputs, tf.reshape(mean, self._shape(inputs)))

            def gradient(of_mean: tf.Tensor, of_variance: tf.Tensor) -> tf.Tensor:
                return self._gradient(inputs, weights, count, mean, added_up(of_mean), added_up(of_variance))

            return (mean, self._sum(weights, squares) / count), gradient

        return moments(inputs)

    def _gradient(
        self,
        inputs: tf.Tensor,
        weights: tf.Tensor,
        count: tf.Tensor,
        mean: tf.Tensor,
        of_mean: tf.Tensor,
        of_variance: tf.Tensor,
    ) -> tf.Tensor:
        """Return the gradient in two operations on all inputs; TensorFlow's own takes eight.

        A change of the mean doesn't change the variance, as the differences from the mean add up to 0.
        """
        slope = 2.0 * of_variance / count
        offset = of_mean / count - slope * mean
        if weights.shape.rank == 0:
            slope, offset = (tf.where(weights > 0, each, 0.0) for each in (slope, offset))
        found = inputs * tf.reshape(slope, self._shape(inputs)) + tf.reshape(offset, self._shape(inputs))
        return found if weights.shape.rank == 0 else tf.where(weights > 0, found, 0.0)

    def _weights(self, inputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Return 1 for what counts, else 0; in a shape that broadcasts to the inputs': without a mask, a scalar."""
        working = ReplicaShare.current()
        active = tf.ones([], inputs.dtype) if working is None else tf.cast(working.rows > 0, inputs.dtype)
        if mask is None:
            return active
        return active * tf.expand_dims(tf.cast(mask, inputs.dtype), -1)

    def _count(self, weights: tf.Tensor, inputs: tf.Tensor) -> tf.Tensor:
        if weights.shape.rank == 0:
            sizes = tf.gather(tf.shape(inputs), self._axes)
            return weights * tf.cast(tf.reduce_prod(sizes), inputs.dtype)
        return tf.reduce_sum(tf.broadcast_to(weights, tf.shape(inputs)), self._axes)

    def _sum(self, weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        masked = weights.shape.rank != 0
        sums = tf.where(weights > 0, values, 0.0) if masked else values
        for axis in sorted(self._axes, reverse=True):
            # One axis at a time, the rows last: one long float32 sum over the pixels of all images would lose four digits,
            # and others on each number of replicas.
            sums = tf.reduce_sum(sums, axis)
        # Without a mask a replica's examples count or do not: choosing its sum is cheaper than choosing all of its values.
        return added_up(sums if masked else tf.where(weights > 0, sums, 0.0))

    def _shape(self, inputs: tf.Tensor) -> list[int | None]:
        return [1 if axis in self._axes else size for axis, size in enumerate(inputs.shape)]
