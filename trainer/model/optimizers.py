"""Taking over a Keras optimizer that was made anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...metrics.errors import UsageError


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


def parts(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """The optimizers that update variables: itself, or those that it wraps."""
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return [part for each in optimizer.optimizers for part in parts(each)]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return parts(optimizer.inner_optimizer)
    return [optimizer]


def all_of_keras(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether it, and what it wraps, are Keras's own classes."""
    return all(type(each).__module__.partition(".")[0] == "keras" for each in (optimizer, *parts(optimizer)))


def constant_rates(optimizer: keras.optimizers.Optimizer) -> list[float]:
    """The learning rate that each part was made with; NaN where it follows a schedule."""
    rates = [_rate_of(part) for part in parts(optimizer)]
    return [float(rate) if isinstance(rate, int | float | np.number) else float("nan") for rate in rates]


def _rate_of(part: keras.optimizers.Optimizer) -> Any:
    """What its config says; a schedule of the user's own may have no config, which Keras needs for saving only."""
    try:
        return part.get_config()["learning_rate"]
    except NotImplementedError:
        return None


def scheduled_rates(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """The learning rates that follow a schedule, as metrics: `learning_rate`, or `learning_rate/NAME` of several parts.

    As Keras logs it: the rate of the next update.
    """
    found = parts(optimizer)
    scheduled = [
        (i, part) for i, (part, rate) in enumerate(zip(found, constant_rates(optimizer), strict=True)) if np.isnan(rate)
    ]
    names = [part.name for part in found]
    return {
        "learning_rate" if len(found) == 1 else f"learning_rate/{_unique(names, i)}": float(part.learning_rate)
        for i, part in scheduled
    }


def averages(optimizer: keras.optimizers.Optimizer) -> list[tuple[Any, Any]]:
    """Pairs (variable, its moving average) of the parts made with `use_ema=True`.

    Keras has no public access to the averages.
    """
    found = []
    for part in parts(optimizer):
        if part.use_ema and part.built:  # a part without variables is not
            assert hasattr(part, "_model_variables_moving_average"), "Keras keeps the averages elsewhere now"
            pairs = zip(part._trainable_variables, part._model_variables_moving_average, strict=True)
            found += [(variable, average) for variable, average in pairs if average is not None]
    return found


def _unique(names: list[str], i: int) -> str:
    return names[i] if names.count(names[i]) == 1 else f"{names[i]}_{i}"


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
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        for part in parts(optimizer):
            _bind_to(part, strategy)
