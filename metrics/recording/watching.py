"""Metrics from a functional model whose code is not touched."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from ..errors import UsageError
from ..paths import normalize
from .recorder import add

_watched: WeakKeyDictionary = WeakKeyDictionary()  # model -> [(path, tensor)]


def watch(
    model: keras.Model,
    tensors: Sequence[keras.KerasTensor],
    names: Sequence[str] | None = None,
) -> keras.Model:
    """Makes tensors of a built functional model metrics: each call of the model adds them.

    The tensors are computed once, on the way to the outputs. Weights, losses, checkpoints and the saved model stay
    what they are.

    Args:
      model: a functional (or sequential, built) model; it is changed in place.
      tensors: symbolic tensors of that model: `model.get_layer("dense").output`, or what was kept while building it.
      names: one path a tensor; None takes the names of the layers that make them.

    Returns:
      The model.

    Raises:
      UsageError: a tensor is not of this model, or the numbers of names and tensors differ.
    """
    tensors = list(tensors)
    watched = [*_watched.get(model, ()), *zip(_paths(tensors, names), tensors, strict=True)]
    try:
        extended = keras.Model(model.input, {"outputs": model.output, "watched": [tensor for _, tensor in watched]})
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"metrics.watch: wanted tensors of the functional model {model.name!r}: {error}") from error
    outputs = model.output

    def call(inputs, training=None, mask=None):
        found = extended(inputs, training=training, mask=mask)
        for (path, _), value in zip(watched, found["watched"], strict=True):
            add(path, value)
        return tf.nest.pack_sequence_as(outputs, tf.nest.flatten(found["outputs"]))

    _watched[model] = watched
    # On the instance: Keras's own tracking, saving and building of the model go on as if nothing had happened.
    object.__setattr__(model, "call", call)
    return model


def _paths(tensors: list, names: Sequence[str] | None) -> list[str]:
    if names is None:
        names = [tensor._keras_history.operation.name for tensor in tensors]
    if len(names) != len(tensors):
        raise UsageError(f"metrics.watch: got {len(tensors)} tensors and {len(names)} names: wanted one a tensor.")
    return [normalize(name) for name in names]
