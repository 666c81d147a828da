"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import keras

from .dropout import InvariantDropout, dropout_rate


@gin.register(module="tallyloop")
def cnn(
    filters: Sequence[int] = (32, 64), num_classes: int = 10, dropout: float = 0.25, synchronized: bool = True
) -> keras.Model:
    """Return a model from images (batch, height, width, channels) to logits of shape (batch, num_classes).

    Args:
      filters: the filters of each 3 x 3 convolution, which is followed by BatchNormalization, ReLU, and pooling by 2.
      num_classes: the number of logits.
      dropout: the fraction of the last features dropped in training; see `InvariantDropout`.
      synchronized: BatchNormalization computes its statistics over the global batch, so that the model trains to the
        same weights on any number of replicas. False computes them over each replica's share, without communication.

    Raises:
      UsageError: `dropout` is not in [0, 1).
    """
    rate = dropout_rate("cnn.dropout", dropout)
    layers: list[keras.Layer] = []
    for count in filters:
        layers += [
            keras.layers.Conv2D(count, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9, synchronized=synchronized),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(2),
        ]
    layers += [keras.layers.Flatten(), InvariantDropout(rate), keras.layers.Dense(num_classes)]
    return keras.Sequential(layers, name="cnn")
