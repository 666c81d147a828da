"""Which part of a batch is the model's input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ...metrics.errors import UsageError

UNNAMED = ("keras_tensor", "input_layer")  # how Keras begins the name of an input without one
_KEY = "x"  # of the inputs in a dict, as in the bundled tasks


def inputs_of(model: keras.Model, batch: Any, purpose: str, fix: str) -> Any:
    """Return what of a batch to call the model with.

    Of a dict: the keys that are the names of the model's inputs, else "x", else the only one. Of a tuple: its first part, as
    in Keras's `(x, y)`. A single tensor is the input itself.

    Args:
      model: the built model.
      batch: a nest of tensors, or of their specs.
      purpose: what needs the inputs, to begin an error with.
      fix: what the user should do if they aren't found, to end it with.

    Raises:
      UsageError: none of these is in the batch, or it has another number of tensors than the model has inputs.
    """
    names = input_names(model)
    found = _part(batch, names)
    if found is None:
        given = [name for name in _flat(names or []) if not name.startswith(UNNAMED) and name != _KEY]
        keys = f"{_KEY!r}, or the model's inputs {given}" if given else repr(_KEY)
        raise UsageError(f"{purpose}: expected {keys} in the batch, got {_described(batch)}; {fix}")
    tensors = tf.nest.flatten(found)
    if names is not None and len(tensors) != len(_flat(names)):
        raise UsageError(
            f"{purpose}: expected a tensor in the batch for each of the model's inputs {_flat(names)}, got {len(tensors)} for "
            f"{len(_flat(names))}, from {_described(batch)}; {fix}"
        )
    return found


def input_names(model: keras.Model) -> Any:
    """Return the structure of the model's inputs, with a name for each: its key in a dict, or that of its `keras.Input`.

    None for a subclassed model, which has no such list.
    """
    try:
        inputs = model.inputs
    except (AttributeError, ValueError):  # ValueError: a Sequential that has not been built
        return None
    if isinstance(model, keras.Sequential):
        return inputs[0].name
    return None if inputs is None else _named(model.input)


def _named(inputs: Any, key: str | None = None) -> Any:
    if isinstance(inputs, Mapping):
        return {key: _named(value, key) for key, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [_named(value) for value in inputs]
    return key or inputs.name


def _part(batch: Any, names: Any) -> Any:
    if isinstance(batch, Mapping):
        if names is not None and all(name in batch for name in _flat(names)):
            return tf.nest.map_structure(lambda name: batch[name], names)
        return batch.get(_KEY, next(iter(batch.values())) if len(batch) == 1 else None)
    if isinstance(batch, tuple | list):
        return batch[0] if batch else None
    return batch


def _flat(names: Any) -> list[str]:
    return tf.nest.flatten(names)


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return f"the keys {sorted(batch)}"
    return f"a {type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
