"""A stateless permutation of rows for each epoch, for readers outside the graph."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ...feeds.permutation import permuted


def shuffled(positions: np.ndarray, epochs: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return where the permutation of (seed, epoch) sends each position.

    Args:
      positions: int64 [k], each in [0, size).
      epochs: int64 [k], in any order.
      size: the number of rows of an epoch.
      seed: in [0, 2**32).
    """
    found = np.empty_like(positions)
    order = np.argsort(epochs, kind="stable")
    ordered = epochs[order]
    # Tables are made for all epochs from the first to the last of a call, so epochs far apart are asked for separately.
    for part in np.split(order, np.flatnonzero(np.diff(ordered) > 1) + 1):
        if len(part):
            found[part] = _permutation(size, seed)(positions[part], epochs[part]).numpy()
    return found


@functools.lru_cache(maxsize=256)
def _permutation(size: int, seed: int) -> Callable[..., tf.Tensor]:
    vector = tf.TensorSpec([None], tf.int64)

    @tf.function(input_signature=[vector, vector])
    def permute(positions: tf.Tensor, epochs: tf.Tensor) -> tf.Tensor:
        return permuted(positions, epochs, epochs[-1] - epochs[0] + 1, size, seed)

    return permute
