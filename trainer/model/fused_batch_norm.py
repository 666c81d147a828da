"""BatchNormalization by TensorFlow's fused operation: one operation each way instead of five and eleven."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from ..distribution.startup import uses_onednn
from .layers import layers_of


@contextlib.contextmanager
def fused(model: keras.Model, communicates: bool) -> Iterator[None]:
    """Let the BatchNorm layers of a model that take their moments over one replica's examples train in less time.

    Inside the context they compute what Keras's do, to rounding. Left as they are:

    - subclasses, and layers with a `call` of their own;
    - synchronized layers on several replicas, and where TensorFlow computes without oneDNN, whose sums alone are as exact as
      those of `batch_norm` on any number of replicas.

    Open the context outside of the replicas, whose threads take turns. It isn't for what XLA compiles: that fuses by itself, and
    takes the variance of this operation as a difference of large numbers.

    Args:
      model: the model whose layers are replaced.
      communicates: whether there are several replicas.
    """
    exact = uses_onednn() and not communicates
    layers = [layer for layer in layers_of(model) if _is_plain(layer) and (exact or not layer.synchronized)]
    for layer in layers:
        layer.call = _FusedCall(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _is_plain(layer: keras.Layer) -> bool:
    is_norm = type(layer) is keras.layers.BatchNormalization
    return is_norm and "call" not in vars(layer) and not layer.renorm


class _FusedCall:
    """What a layer computes: fused in training, without a mask, over all axes but the last, in float32; else as Keras does."""

    def __init__(self, layer: keras.layers.BatchNormalization):
        self._layer: Any = layer  # as Keras says that its weights may be None

    def __call__(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        layer = self._layer
        last = layer.axis in (-1, inputs.shape.rank - 1)
        in_float32 = keras.backend.result_type(inputs.dtype, "float32") == "float32"
        if not (training and layer.trainable and mask is None and last and in_float32):
            return type(layer).call(layer, inputs, training=training, mask=mask)
        outputs, mean, variance = self._normalized(tf.cast(inputs, tf.float32))
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(tf.cast(moving, tf.float32) * layer.momentum + value * (1.0 - layer.momentum))
        return tf.cast(outputs, layer.compute_dtype)

    def _normalized(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the outputs, and the mean and the variance by channel."""
        layer, (channels,) = self._layer, self._layer.moving_mean.shape
        outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(inputs, [-1, 1, 1, channels]),
            scale=tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones([channels]),
            offset=tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros([channels]),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=layer.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // channels, tf.float32)
        return tf.reshape(outputs, tf.shape(inputs)), mean, unbiased * (count - 1.0) / count
