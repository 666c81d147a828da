"""Normalization and GELU with their gradients written out: half the operations of those that TensorFlow derives."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_EPSILON = 1e-5  # as in PyTorch; Keras has 1e-3
_ROOT_HALF, _DENSITY = 0.5**0.5, 0.3989422804014327  # 1 / sqrt(2), 1 / sqrt(2 pi)


@keras.saving.register_keras_serializable("tallyloop")
class Norm(keras.layers.Layer):
    """Layer normalization with a scale and no bias, over the last axis; in float32, as in Keras.

    Args:
      width: the size of the last axis.
    """

    def __init__(self, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self._width = width

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the scale."""
        self.scale = self.add_weight(shape=(self._width,), initializer="ones", name="scale")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return the inputs with mean 0 and variance 1, times the scale."""
        wide = _normalized(tf.cast(inputs, tf.float32)) if inputs.dtype != tf.float64 else _normalized(inputs)
        return tf.cast(wide, inputs.dtype) * tf.cast(self.scale, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what `keras.models.load_model` makes the layer from."""
        return {**super().get_config(), "width": self._width}


@tf.custom_gradient
def gelu(inputs: tf.Tensor) -> Any:
    """Return the inputs times the standard normal distribution function of them."""
    below = 0.5 + 0.5 * tf.math.erf(inputs * _ROOT_HALF)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (below + inputs * tf.exp(-0.5 * inputs * inputs) * _DENSITY)

    return inputs * below, gradient


@tf.custom_gradient
def _normalized(inputs: tf.Tensor) -> Any:
    centred = inputs - tf.reduce_mean(inputs, -1, keepdims=True)
    inverse = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + _EPSILON)
    found = centred * inverse

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        along = tf.reduce_mean(upstream * found, -1, keepdims=True)
        return inverse * (upstream - tf.reduce_mean(upstream, -1, keepdims=True) - found * along)

    return found, gradient
