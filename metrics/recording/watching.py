"""Metrics of a functional model whose code stays untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from ..errors import UsageError
from ..paths import normalize
from .add import add

# model -> [(path, tensor)]
_watched: WeakKeyDictionary[keras.Model, list[tuple[str, keras.KerasTensor]]] = WeakKeyDictionary()


def watch(
    model: keras.Model,
    tensors: Sequence[keras.KerasTensor],
    names: Sequence[str] | None = None,
) -> keras.Model:
    """Record tensors of a built functional model as metrics in each call of the model.

    The tensors are computed once, on the way to the outputs. Weights, losses, checkpoints and the saved model stay as
    they are.

    Args:
      model: a functional (or built sequential) model; it is changed in place.
      tensors: symbolic tensors of that model, such as `model.get_layer("dense").output` or one kept while building it.
      names: one path per tensor; None takes the names of the layers that make them.

    Returns:
      The model.

    Raises:
      UsageError: a tensor does not belong to this model, or the numbers of names and tensors differ.
    """
    tensors = list(tensors)
    watched = [*_watched.get(model, ()), *zip(_paths(tensors, names), tensors, strict=True)]
    try:
        extended = keras.Model(model.input, {"outputs": model.output, "watched": [tensor for _, tensor in watched]})
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"metrics.watch: expected tensors of the functional model {model.name!r}: {error}") from error
    outputs = model.output

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        found = extended(inputs, training=training, mask=mask)
        for (path, _), value in zip(watched, found["watched"], strict=True):
            add(path, value)
        return tf.nest.pack_sequence_as(outputs, tf.nest.flatten(found["outputs"]))

    _watched[model] = watched
    # Set on the instance, past Keras's `__setattr__`: tracking, saving and building of the model stay as they were.
    object.__setattr__(model, "call", call)
    return model


def _paths(tensors: list[keras.KerasTensor], names: Sequence[str] | None) -> list[str]:
    if names is None:
        # Keras adds the attribute, and declares it nowhere.
        names = [tensor._keras_history.operation.name for tensor in tensors]  # pyright: ignore[reportAttributeAccessIssue]
    if len(names) != len(tensors):
        raise UsageError(f"metrics.watch: expected one name per tensor, got {len(names)} for {len(tensors)} tensors.")
    return [normalize(name) for name in names]
