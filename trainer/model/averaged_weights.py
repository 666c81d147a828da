"""Evaluating with the moving averages of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from .optimizers import averages, parts


class AveragedWeights:
    """The averages that an optimizer made with `use_ema=True` keeps, for evaluation, prediction and export.

    Args:
      optimizer: built; if it keeps no averages, or is None, the weights are used as they are.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer | None):
        self._pairs = averages(optimizer) if optimizer is not None else []
        # Evaluation needs its state if it keeps averages.
        self.optimizer: keras.optimizers.Optimizer | None = optimizer if self._pairs else None
        self._parts = parts(optimizer) if self._pairs and optimizer is not None else []
        self._swap = tf.function(self._swapped, autograph=False)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside the context, the model's weights are their averages; before the first update there are none."""
        if not self._pairs or all(keras.ops.convert_to_numpy(part.iterations) == 0 for part in self._parts):
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swapped(self) -> None:
        for variable, average in self._pairs:
            weights = tf.identity(variable.value)
            variable.assign(average)
            average.assign(weights)
