"""Keras optimizers made anywhere: built for the strategy, taken apart, and their learning rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...metrics.errors import UsageError
from ..task import ONE_LOSS, TaskLosses
from .embeddings import is_large
from .large_updates import let_update_large

GivenOptimizer = keras.optimizers.Optimizer | Callable[[], keras.optimizers.Optimizer]
# That of a task with one loss, or those of several losses by name.
Optimizers = keras.optimizers.Optimizer | Mapping[str, keras.optimizers.Optimizer]


def build_optimizers(
    given: Any, strategy: tf.distribute.Strategy, task: Any, model: keras.Model, prepare: Callable[..., None]
) -> Optimizers:
    """Return the optimizer of a task with one loss, or those of several, each built on the variables that it updates.

    Args:
      given: what `Trainer.optimizer` is bound to.
      strategy: the replicas whose copies of the variables they update.
      task: says which variables each of several losses trains.
      model: its built model.
      prepare: called with a list of all optimizers and the model, before they are built.

    Raises:
      UsageError: there are not as many optimizers as losses, one of them is wrong, or the variables of a loss are.
    """
    names = given.keys() if isinstance(given, Mapping) else None
    losses = TaskLosses(task, model, names)
    if losses.several != isinstance(given, Mapping) or (names is not None and not names):
        wanted = (
            'a dict with an optimizer per loss, such as {"NAME": @keras.optimizers.Adam(), ...}'
            if losses.several
            else "one optimizer, such as @keras.optimizers.Adam()"
        )
        defined = "losses" if losses.several else "loss"
        raise UsageError(
            f"Trainer.optimizer = {given!r}: expected {wanted}, as {type(task).__name__} defines {defined}."
        )
    if names is not None:
        losses.check_variables(names)
    made = {name: make_optimizer(each, strategy, _binding(name)) for name, each in by_loss(given).items()}
    if len(set(map(id, made.values()))) < len(made):
        raise UsageError(
            f"Trainer.optimizer = {given!r}: expected an optimizer per loss, got one twice; make another one."
        )
    if any(is_large(variable) for variable in model.trainable_variables):
        for part in parts(made):
            let_update_large(part)
    prepare(list(made.values()), model)
    with strategy.scope():
        for name, each in made.items():
            each.build(losses.variables(name))
    return made if names is not None else made[ONE_LOSS]


def by_loss(optimizer: Optimizers) -> Mapping[str, keras.optimizers.Optimizer]:
    """Return name of a loss -> its optimizer."""
    return optimizer if isinstance(optimizer, Mapping) else {ONE_LOSS: optimizer}


def make_optimizer(
    given: GivenOptimizer,
    strategy: tf.distribute.Strategy,
    where: str = "Trainer.optimizer",
) -> keras.optimizers.Optimizer:
    """Return the optimizer, to be built under the scope of `strategy`, wherever it was made.

    Args:
      given: an unbuilt optimizer, or a function that makes one.
      strategy: the replicas whose copies of the variables it updates.
      where: the binding that it comes from, to name in an error.

    Raises:
      UsageError: it isn't a Keras optimizer, or was built on other variables already.
    """
    with strategy.scope():
        made = given() if callable(given) and not _is_optimizer(given) else given
        if not _is_optimizer(made):
            raise UsageError(f"{where}: expected a Keras optimizer, such as @keras.optimizers.Adam(), got {made!r}.")
        if made.built:
            raise UsageError(f"{where}: it was built on other variables already; give a new, unbuilt one.")
        _check_rate(made, where)
        _bind_to(made, strategy)
    return made


def _binding(name: str) -> str:
    return f"Trainer.optimizer[{name!r}]" if name else "Trainer.optimizer"


def _check_rate(optimizer: keras.optimizers.Optimizer, where: str) -> None:
    for part in parts(optimizer):
        rate = getattr(part, "_learning_rate", None)  # `learning_rate` would call it
        if isinstance(rate, type):
            raise UsageError(
                f"{where}: {type(part).__name__}.learning_rate = {rate!r}: expected a number or a schedule, got a "
                f"class. Call it: @{rate.__name__}() in gin, {rate.__name__}(...) in Python."
            )


def parts(optimizer: Optimizers) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers that update variables: the optimizer itself, those of each loss, or those that they wrap."""
    if isinstance(optimizer, Mapping):
        return [part for each in optimizer.values() for part in parts(each)]
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        return [part for each in optimizer.optimizers for part in parts(each)]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return parts(optimizer.inner_optimizer)
    return [optimizer]


def grouped(optimizer: Optimizers) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers of the groups of each MultiOptimizer: it keeps them where TensorFlow does not look (Keras 3.15)."""
    if isinstance(optimizer, Mapping):
        return [group for each in optimizer.values() for group in grouped(each)]
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return grouped(optimizer.inner_optimizer)
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else []


def all_of_keras(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether the optimizer, and what it wraps, are Keras's own classes."""
    return all(type(each).__module__.partition(".")[0] == "keras" for each in (optimizer, *parts(optimizer)))


def constant_rates(optimizer: Optimizers) -> list[float]:
    """Return the learning rate that each part was made with; NaN where it follows a schedule."""
    rates = [_rate_of(part) for part in parts(optimizer)]
    return [float(rate) if isinstance(rate, int | float | np.number) else float("nan") for rate in rates]


def _rate_of(part: keras.optimizers.Optimizer) -> Any:
    """Return the rate in its config; a user's own schedule may have none, as Keras needs it only for saving."""
    try:
        return part.get_config()["learning_rate"]
    except NotImplementedError:
        return None


def learning_rates(optimizer: Optimizers) -> dict[str, float]:
    """Return the current learning rates: `learning_rate`, or `learning_rate/NAME` for each of several parts.

    NAME is that of the loss, if there are several, and then that of the part, if there are several. Like Keras, it gives the
    rate of the next update.
    """
    rates: dict[str, float] = {}
    for loss, each in by_loss(optimizer).items():
        found = parts(each)
        names = [part.name for part in found]
        for i, part in enumerate(found):
            path = ["learning_rate", *([loss] if loss else ()), *([_unique(names, i)] if len(found) > 1 else ())]
            # Not convert_to_numpy, of which NumPy warns.
            rates["/".join(path)] = float(tf.convert_to_tensor(part.learning_rate).numpy())
    return rates


class LearningRates:
    """The constant learning rates in the config. A part of the checkpoint.

    A rate that was changed in the config wins over the checkpoint's; one that an action has set does not.

    Args:
      optimizer: built, and not yet restored.
    """

    def __init__(self, optimizer: Optimizers):
        self._optimizer = optimizer
        self._configured = constant_rates(optimizer)
        self._stored = tf.Variable(tf.constant(self._configured, tf.float64), trainable=False)

    def state(self) -> dict[str, tf.Variable]:
        """The rates in the config."""
        return {"configured_learning_rates": self._stored}

    def before_save(self) -> None:
        """Do nothing: the rates are in their variable."""

    def after_restore(self) -> None:
        """Apply the rates that have been changed in the config since the checkpoint."""
        before = self._stored.numpy()
        self._stored.assign(self._configured)
        for part, rate, stored in zip(parts(self._optimizer), self._configured, before, strict=True):
            if rate != stored and not np.isnan(rate):
                part.learning_rate = rate


def averages(optimizer: Optimizers) -> list[tuple[keras.optimizers.Optimizer, list[tuple[Any, Any]]]]:
    """Return the parts made with `use_ema=True`, each with its pairs (variable, its moving average).

    Keras has no public access to the averages.
    """
    found = []
    for part in parts(optimizer):
        if part.use_ema and part.built:  # a part without variables is never built
            assert hasattr(part, "_model_variables_moving_average"), "Keras keeps the averages elsewhere now"
            pairs = zip(part._trainable_variables, part._model_variables_moving_average, strict=True)
            found.append((part, [(variable, average) for variable, average in pairs if average is not None]))
    return found


def _unique(names: list[str], i: int) -> str:
    return names[i] if names.count(names[i]) == 1 else f"{names[i]}_{i}"


def _is_optimizer(candidate: object) -> bool:
    return isinstance(candidate, keras.optimizers.Optimizer)


def _bind_to(optimizer: keras.optimizers.Optimizer, strategy: tf.distribute.Strategy) -> None:
    """Make the optimizer update the variables of `strategy`.

    Keras stores the strategy when the optimizer is constructed, and has no public way to set it later. A copy
    through get_config would lose `exclude_from_weight_decay`, and the user's own reference to it.
    """
    assert hasattr(optimizer, "_distribution_strategy"), "Keras keeps the strategy elsewhere now"
    optimizer._distribution_strategy = strategy
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        _bind_to(optimizer.inner_optimizer, strategy)
    if isinstance(optimizer, keras.optimizers.MultiOptimizer):
        for part in parts(optimizer):
            _bind_to(part, strategy)
