"""Taking over a Keras optimizer that was made anywhere."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError


def adopt(
    optimizer: keras.optimizers.Optimizer | Callable[[], keras.optimizers.Optimizer],
    strategy: tf.distribute.Strategy,
    variables: list,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer, built on `variables` for `strategy`, wherever it was made.

    Args:
      optimizer: an unbuilt optimizer, or a function that makes one.
      strategy: the replicas whose copies of the variables it updates.
      variables: the trainable variables.

    Raises:
      UsageError: it is no Keras optimizer, or was built on other variables already.
    """
    with strategy.scope():
        made = optimizer() if callable(optimizer) and not _is_optimizer(optimizer) else optimizer
        if not _is_optimizer(made):
            raise UsageError(
                f"Trainer.optimizer: wanted a Keras optimizer, such as @keras.optimizers.Adam(), got {made!r}."
            )
        if made.built:
            raise UsageError("Trainer.optimizer: it was built on variables already; give a new, unbuilt one.")
        _bind_to(made, strategy)
        made.build(variables)
    return made


def constant_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The learning rate that it was made with; NaN if it follows a schedule."""
    rate = getattr(optimizer, "inner_optimizer", optimizer).get_config()["learning_rate"]
    return float(rate) if isinstance(rate, int | float | np.number) else float("nan")


def _is_optimizer(candidate: object) -> bool:
    return isinstance(candidate, keras.optimizers.Optimizer)


def _bind_to(optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy) -> None:
    """Makes the optimizer update the variables of `strategy`.

    Keras notes the strategy when the optimizer is constructed and has no public way to set it later. A copy
    through get_config would lose `exclude_from_weight_decay`, and the user's own reference to it.
    """
    assert hasattr(optimizer, "_distribution_strategy"), "Keras keeps the strategy elsewhere now"
    optimizer._distribution_strategy = strategy
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        _bind_to(optimizer.inner_optimizer, strategy)
