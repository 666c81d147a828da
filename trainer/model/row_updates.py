"""Optimizers that update only some rows of a table, where their rule leaves all others as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from .embeddings import is_large


def let_update_rows(optimizer: keras.optimizers.Optimizer) -> None:
    """Let an optimizer take a gradient that is given by its rows, each of them once, if it has a rule for these.

    Keras's own rules do too, but that of Adagrad goes through the whole accumulator. Call this before anything else replaces
    `update_step`, as parameter groups do.
    """
    rule = _RULES.get(type(optimizer))
    if rule is None:
        return
    whole = optimizer.update_step

    def update_step(gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        if isinstance(gradient, tf.IndexedSlices):
            rule(optimizer, gradient, variable, keras.ops.cast(learning_rate, variable.dtype))
        else:
            whole(gradient, variable, learning_rate)

    optimizer.update_step = update_step


def updated_by_rows(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> frozenset[int]:
    """Return the positions of the variables whose gradient may be given by its rows.

    These are large tables that SGD without momentum or Adagrad updates. Whatever else an update does to them (weight decay,
    moving averages, a constraint) goes through all rows anyway, and clipping and scales set on the optimizer need the
    whole gradient: there it stays dense.

    Args:
      optimizer: built on the variables, after `let_update_rows` of its parts.
      variables: what it updates.
    """
    several = isinstance(optimizer, keras.optimizers.MultiOptimizer)
    owners = [part for part in (optimizer.optimizers if several else [optimizer]) if _touches_rows_only(part)]
    assert all(hasattr(part, "_trainable_variables") for part in owners), "Keras keeps the variables elsewhere now"
    owned = {id(variable) for part in owners for variable in part._trainable_variables}
    return frozenset(
        i for i, each in enumerate(variables) if id(each) in owned and is_large(each) and each.constraint is None
    )


def _touches_rows_only(optimizer: keras.optimizers.Optimizer) -> bool:
    if type(optimizer) not in _RULES or not optimizer.built or optimizer.use_ema or getattr(optimizer, "momentum", 0):
        return False
    return all(getattr(optimizer, name) is None for name in _NEED_ALL_ROWS)


def _sgd(optimizer: Any, gradient: tf.IndexedSlices, variable: tf.Variable, rate: tf.Tensor) -> None:
    variable.scatter_sub(tf.IndexedSlices(rate * gradient.values, gradient.indices))


def _adagrad(optimizer: Any, gradient: tf.IndexedSlices, variable: tf.Variable, rate: tf.Tensor) -> None:
    assert hasattr(optimizer, "_accumulators"), "Keras keeps Adagrad's accumulators elsewhere now"
    accumulators = optimizer._accumulators[optimizer._get_variable_index(variable)]
    accumulator = _beside(accumulators, variable)
    sums = tf.gather(accumulator, gradient.indices) + tf.square(gradient.values)
    accumulator.scatter_update(tf.IndexedSlices(sums, gradient.indices))
    step = rate * gradient.values / tf.sqrt(sums + tf.constant(optimizer.epsilon, sums.dtype))
    variable.scatter_sub(tf.IndexedSlices(step, gradient.indices))


def _beside(state: keras.Variable, variable: tf.Variable) -> tf.Variable:
    """Return the copy of an optimizer's variable that is on the device of a replica's copy of the variable it belongs to."""
    copies = tf.distribute.get_strategy().experimental_local_results(state.value)
    return copies[0] if len(copies) == 1 else next(each for each in copies if each.device == variable.device)


# Settings of an optimizer that go through all rows.
_NEED_ALL_ROWS = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "loss_scale_factor",
    "gradient_accumulation_steps",
)
_RULES: dict[type, Callable[..., None]] = {keras.optimizers.SGD: _sgd, keras.optimizers.Adagrad: _adagrad}
