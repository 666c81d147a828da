"""Evaluating with the moving averages of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import tensorflow as tf

from .optimizers import Optimizers, averages


class AveragedWeights:
    """The averages that an optimizer made with `use_ema=True` keeps, for evaluation, prediction and export.

    Args:
      optimizer: built, one for each of several losses; if it keeps no averages, or is None, the weights are used as they are.
    """

    def __init__(self, optimizer: Optimizers | None):
        self._averages = averages(optimizer) if optimizer is not None else []
        # Evaluation needs its state if it keeps averages.
        self.optimizer: Optimizers | None = optimizer if self._averages else None
        self._swaps = [tf.function(partial(_swap, pairs), autograph=False) for _, pairs in self._averages]

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Replace the model's weights by their averages, inside the context; before an optimizer's first update it has none."""
        parts = zip(self._averages, self._swaps, strict=True)
        swaps = [swap for (part, _), swap in parts if _updates(part)]
        for swap in swaps:
            swap()
        try:
            yield
        finally:
            for swap in swaps:
                swap()


def _updates(part: Any) -> int:
    """Return how many an optimizer has made."""
    return int(part.iterations.numpy())


def _swap(pairs: list[tuple[Any, Any]]) -> None:
    for variable, average in pairs:
        weights = tf.identity(variable.value)
        variable.assign(average)
        average.assign(weights)
