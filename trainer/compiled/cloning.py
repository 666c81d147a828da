"""A compiled model under another strategy than the one it was created for."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ...metrics.errors import UsageError
from ..arguments import as_strategy


def strategy_for(model: keras.Model, given: Any) -> tf.distribute.Strategy:
    """Return the strategy to train `model` with: the one it was created for, unless another one is given.

    Without a scope a model was created for TensorFlow's default strategy. One device that is the default device is the same.

    Args:
      model: the compiled model.
      given: a strategy, a function that makes one, or None.
    """
    own = model.distribute_strategy
    if given is None:
        return own
    made = as_strategy(given)
    is_default = own is tf.distribute.get_strategy() and isinstance(made, tf.distribute.OneDeviceStrategy)
    return own if is_default and made.extended.worker_devices[0] == tf.zeros([]).device else made


def in_scope(
    model: keras.Model, created_for: tf.distribute.Strategy, call: Callable[[keras.Model], Any]
) -> keras.Model:
    """Return the model for the strategy whose scope is open: itself if it was created for that, or else a copy.

    Args:
      model: the model; it is built if it is not.
      created_for: its strategy.
      call: calls a model on some data, which builds it.

    Raises:
      UsageError: the strategy needs a copy, and the model cannot be copied.
    """
    strategy = tf.distribute.get_strategy()
    found = model if strategy is created_for else _copy(model, strategy, call)
    if not found.built:
        call(found)
    return found


def _copy(model: keras.Model, strategy: tf.distribute.Strategy, call: Callable[[keras.Model], Any]) -> keras.Model:
    try:
        copy = _remade(model)
        if not copy.built:
            call(copy)
    except Exception as error:  # whatever a user's constructor raises
        raise UsageError(
            f"from_keras: the model {model.name!r} ({type(model).__name__}) was created outside of the strategy's scope, and "
            f"cannot be copied into that of {type(strategy).__name__}. Expected a model that is created and compiled in `with "
            "strategy.scope():`, with that strategy as `strategy`; or a class with a get_config() from which it can be made "
            f"again. Got: {textwrap.shorten(str(error), 300)}"
        ) from error
    if not model.built:
        return copy  # there are no weights yet
    own, its = copy.variables, model.variables
    if [v.shape for v in own] != [v.shape for v in its]:
        raise UsageError(
            f"from_keras: the model {model.name!r} was created outside of the strategy's scope, and its copy has other "
            f"variables: {len(own)} instead of {len(its)}, or of other shapes. Create and compile it in `with strategy.scope():`."
        )
    for mine, value in zip(own, its, strict=True):
        mine.assign(value.numpy())
    return copy


def _remade(model: keras.Model) -> keras.Model:
    if isinstance(model, keras.Sequential) or hasattr(model, "operations"):  # a functional one
        return keras.models.clone_model(model, clone_function=_remade_layer)
    return type(model).from_config(model.get_config())  # clone_model would copy what was given to `compile`, too


def _remade_layer(layer: keras.Layer) -> keras.Layer:
    if isinstance(layer, keras.layers.Lambda) and not layer.variables:
        return layer  # Keras does not make a lambda again from its config, and this one serves both models
    return type(layer).from_config(layer.get_config())
