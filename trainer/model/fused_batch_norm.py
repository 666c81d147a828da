"""The gradient of BatchNormalization in one operation, where TensorFlow derives eleven."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from .batch_norm import moments_of
from .layers import calls_replaced, layers_of


@contextlib.contextmanager
def fused_gradients(model: keras.Model, communicates: bool) -> Iterator[None]:
    """Let TensorFlow's fused operation differentiate the BatchNorm layers of a model that see one replica's examples.

    Inside the context their outputs and moving statistics are those of Keras, and their gradients are the same to rounding.
    Second derivatives are exact, too; those of Keras's layer, whose variance stops the gradient at the mean, are not.

    Left as they are: subclasses, layers with a `call` of their own, synchronized layers on several replicas, and all layers where
    there is a GPU, as the operation expects other numbers there. XLA fuses the gradient by itself.

    Open the context outside of the replicas, whose threads take turns.

    Args:
      model: the model whose layers are replaced.
      communicates: whether there are several replicas.
    """
    on_cpu = not tf.config.list_logical_devices("GPU")
    norms = filter(_is_plain, layers_of(model)) if on_cpu else ()
    layers = [layer for layer in norms if not (communicates and layer.synchronized)]
    with calls_replaced(layers, _Call):
        yield


def _is_plain(layer: keras.Layer) -> bool:
    is_norm = type(layer) is keras.layers.BatchNormalization
    return is_norm and "call" not in vars(layer) and not layer.renorm


class _Call:
    """What `BatchNormalization.call` does in training, without a mask, over all axes but the last, in float32."""

    def __init__(self, layer: keras.layers.BatchNormalization):
        self._layer: Any = layer  # as Keras says that its weights may be None

    def __call__(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        layer = self._layer
        last = layer.axis in (-1, inputs.shape.rank - 1)
        in_float32 = keras.backend.result_type(inputs.dtype, "float32") == "float32"
        if not (training and layer.trainable and mask is None and last and in_float32):
            return type(layer).call(layer, inputs, training=training, mask=mask)
        inputs = tf.cast(inputs, tf.float32)
        mean, variance = moments_of(layer, inputs)
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(tf.cast(moving, tf.float32) * layer.momentum + value * (1.0 - layer.momentum))
        scale = tf.cast(layer.gamma, tf.float32) if layer.scale else tf.ones_like(mean)
        offset = tf.cast(layer.beta, tf.float32) if layer.center else tf.zeros_like(mean)
        return tf.cast(_normalized(inputs, mean, variance, scale, offset, layer.epsilon), layer.compute_dtype)


def _normalized(
    inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """Return the outputs. Their gradient takes the mean and the variance for the functions of the inputs that they are."""
    mean, variance = tf.stop_gradient(mean), tf.stop_gradient(variance)

    @tf.custom_gradient
    def normalized(inputs: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            rows = [-1, 1, 1, scale.shape[0]]
            by_inputs, by_scale, by_offset, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=tf.reshape(upstream, rows),
                x=tf.reshape(inputs, rows),
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0]),  # only for GPUs
                epsilon=epsilon,
                is_training=True,
            )
            return tf.reshape(by_inputs, tf.shape(inputs)), by_scale, by_offset

        return tf.nn.batch_normalization(inputs, mean, variance, offset, scale, epsilon), gradient

    return normalized(inputs, scale, offset)
