"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import keras

from .dropout import InvariantDropout, dropout_rate


@gin.register(module="tallyloop")
def mlp(
    hidden: Sequence[int] = (128,), num_classes: int = 10, activation: str = "relu", dropout: float = 0.0
) -> keras.Model:
    """Return a model from examples of any shape, flattened, to logits of shape (batch, num_classes).

    Args:
      hidden: the widths of the hidden layers.
      num_classes: the number of logits.
      activation: the Keras name of the hidden layers' activation.
      dropout: the fraction of each hidden layer's outputs dropped in training; see `InvariantDropout`.

    Raises:
      UsageError: `dropout` is not in [0, 1).
    """
    rate = dropout_rate("mlp.dropout", dropout)
    layers: list[keras.Layer] = [keras.layers.Flatten()]
    for width in hidden:
        layers.append(keras.layers.Dense(width, activation=activation))
        if rate:
            layers.append(InvariantDropout(rate))
    return keras.Sequential([*layers, keras.layers.Dense(num_classes)], name="mlp")
