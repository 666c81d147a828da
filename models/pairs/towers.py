"""Towers: networks from a query or an item to a vector of length 1."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import keras

from ...data.checks import whole_number


@gin.register(module="tallyloop")
def dense_tower(hidden: Sequence[int] = (128,), width: int = 32) -> keras.Model:
    """Return a model from features of any shape, flattened, to vectors (batch, width) of length 1.

    Args:
      hidden: the widths of the hidden layers.
      width: of the vectors; the same in both towers.
    """
    layers: list[keras.Layer] = [keras.layers.Flatten()]
    layers += [keras.layers.Dense(each, activation="relu") for each in hidden]
    size = whole_number("dense_tower.width", width, least=1)
    layers += [keras.layers.Dense(size), keras.layers.UnitNormalization()]
    return keras.Sequential(layers)


@gin.register(module="tallyloop")
def embedding_tower(size: int, width: int = 32) -> keras.Model:
    """Return a model from numbers (batch,), such as those of users or items, to vectors (batch, width) of length 1.

    Args:
      size: how many numbers there are; they count from 0.
      width: of the vectors; the same in both towers.
    """
    count = whole_number("embedding_tower.size", size, least=1)
    return keras.Sequential(
        [keras.Input((), dtype="int64"), keras.layers.Embedding(count, width), keras.layers.UnitNormalization()]
    )
