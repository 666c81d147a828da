"""Large embeddings: their rows are looked up where the table is, without reading all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from .layers import calls_replaced, layers_of

# Numbers; a step goes through a smaller variable in the time that it takes to tell rows apart, or to call XLA.
LARGE = 2**19


def is_large(variable: keras.Variable | tf.Variable) -> bool:
    """Return whether a variable has so many float32 numbers that a step should go through them rarely."""
    count = tf.TensorShape(variable.shape).num_elements() or 0
    return count >= LARGE and keras.backend.standardize_dtype(variable.dtype) == "float32"


def is_large_table(variable: keras.Variable) -> bool:
    """Return whether a variable has so many rows or columns that a step should touch only some of its rows."""
    return len(variable.shape) == 2 and is_large(variable)


def copies(variable: keras.Variable) -> Sequence[tf.Variable]:
    """Return the replicas' copies of a variable, on this worker; the one that there is without a strategy."""
    return getattr(variable.value, "values", (variable.value,))


@contextlib.contextmanager
def rows_looked_up(model: keras.Model) -> Iterator[None]:
    """Let the large embeddings of a model gather the rows of a batch from the variable itself, inside the context.

    Keras's own `call` reads the variable first, and TensorFlow copies all of it then, once single rows have been written to it.
    The rows are the same. Open the context outside of the replicas, whose threads take turns.

    Args:
      model: an `Embedding` inside with a `call` of its own keeps that.
    """
    layers = [layer for layer in layers_of(model) if _is_plain(layer)]
    with calls_replaced(layers, lambda layer: partial(_rows, layer)):
        yield


def _is_plain(layer: keras.Layer) -> bool:
    """Return whether this is an embedding that does what Keras's does, with a table that is large and not made of others."""
    return (
        isinstance(layer, keras.layers.Embedding)
        and type(layer).call is keras.layers.Embedding.call
        and "call" not in vars(layer)
        and layer.built
        and isinstance(layer.embeddings, keras.Variable)  # not so with LoRA, or if it is quantized
        and is_large_table(layer.embeddings)
    )


def _rows(layer: keras.layers.Embedding, inputs: Any) -> Any:
    """Return what `keras.layers.Embedding.call` returns: rows by number, of which those below 0 count from the end."""
    table = _own_copy(layer.embeddings)
    if table is None or not isinstance(inputs, tf.Tensor):  # ragged, sparse, or symbolic
        return type(layer).call(layer, inputs)
    ids = inputs if inputs.dtype in (tf.int32, tf.int64) else tf.cast(inputs, tf.int32)
    ids = tf.where(ids < 0, ids + tf.constant(table.shape[0], ids.dtype), ids)
    return tf.cast(tf.gather(table, ids), layer.compute_dtype)


def _own_copy(variable: keras.Variable) -> Any:
    """Return the copy of a variable that belongs to the replica at work: `tf.gather` of all copies would read it."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return None
    found = copies(variable)
    replica = tf.get_static_value(context.replica_id_in_sync_group)
    return None if replica is None else found[int(replica) % len(found)]
