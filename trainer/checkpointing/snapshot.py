"""Copies of a run's state that another thread can write while training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ...data.feeds.iterators import serialize_iterator
from ...data.messages.failures import reason
from ...metrics.errors import UsageError
from ..model.layers import weight_names
from .state import Checkpoint

GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
VARIABLE = "VARIABLE_VALUE"  # the attribute in the object graph that holds a variable's value
# The attributes whose values are taken directly -> what the key in the files has behind that in the object graph.
_DIRECT = {VARIABLE: "", "ITERATOR": "_STATE"}


class Snapshots:
    """Takes snapshots of a `tf.train.Checkpoint`; `write` writes them as the checkpoint's own `write` would.

    TensorFlow can write in the background itself (`CheckpointOptions(enable_async=True)`), but with Keras 3 only once, and
    without the state of an iterator (TensorFlow 2.21, Keras 3.15).

    A snapshot costs next to nothing: TensorFlow copies a variable only when it is next assigned while its value is still
    held elsewhere. What is neither a variable nor an iterator, such as a hash table or a `PythonState`, is copied by TensorFlow.

    Args:
      state: all its variables exist.
    """

    def __init__(self, state: Checkpoint):
        self._state = state
        self._sources: dict[str, Any] = {}  # key in the files -> a variable or an iterator
        self._others: list[str] = []  # the keys of everything else
        self._graph: bytes = b""

    def take(self) -> dict[str, tf.Tensor]:
        """Return key -> value.

        Raises:
          UsageError: something in the state cannot be saved.
        """
        try:
            return self._take()
        except Exception as error:
            raise UsageError(
                "The model, or an attribute of the task, holds something that no checkpoint can hold: expected layers, "
                f"variables, generators and hash tables; got {reason(error)}"
            ) from error

    def _take(self) -> dict[str, tf.Tensor]:
        if not self._sources:
            seen = _seen(self._state)
            graph = TrackableObjectGraph.FromString(tf.get_static_value(seen.pop(GRAPH)))
            places = dict(_places(self._state, graph))
            keys = _named_by_layer(self._state, places)
            self._graph = _renamed(graph, keys).SerializeToString(deterministic=True)
            seen = {keys.get(key, key): value for key, value in seen.items()}
            self._sources = {keys.get(key, key): source for key, source in places.items()}
            self._others = [key for key in seen if key not in self._sources]
        values = {key: _value(source) for key, source in self._sources.items()}
        if self._others:
            seen = _seen(self._state)
            values |= {key: _copy(seen[key]) for key in self._others}
        return {**values, GRAPH: tf.constant(self._graph)}


def write(snapshot: dict[str, tf.Tensor], prefix: Path) -> None:
    """Write `prefix.index` and `prefix.data-00000-of-00001`; from any thread."""
    with tf.device("CPU:0"):
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(snapshot),
            shape_and_slices=[""] * len(snapshot),
            tensors=list(snapshot.values()),
        )


class _CalledOffError(Exception):
    """Ends the writing."""


class _Spy(tf.train.experimental.ShardingCallback):
    """Sees what would be written, keeps it, and calls the writing off."""

    description = "takes the tensors"

    def __init__(self) -> None:
        self.seen: dict[str, tf.Tensor] = {}

    def __call__(self, shardable_tensors: Sequence[tf.train.experimental.ShardableTensor]) -> list:
        """Keep the tensors of a process; the map of keys to objects is among them."""
        self.seen |= {each.checkpoint_key: each.tensor for each in shardable_tensors}
        if GRAPH in self.seen:
            raise _CalledOffError
        return []


def _seen(state: Checkpoint) -> dict[str, tf.Tensor]:
    """Return key -> value of what `state.write` would write, without the time of a whole save."""
    spy = _Spy()
    with contextlib.suppress(_CalledOffError):
        options = tf.train.CheckpointOptions(experimental_sharding_callback=spy)
        state.write(tf.constant(""), options)  # pyright: ignore[reportArgumentType]  # the stubs know no tensors here
    return spy.seen


def _places(root: Any, graph: TrackableObjectGraph) -> Iterator[tuple[str, Any]]:
    """Yield (key in the files, live object) for every variable and iterator in the object graph."""
    view, waiting, seen = tf.train.TrackableView(root), [(root, 0)], {0}
    while waiting:
        node, number = waiting.pop()
        for attribute in graph.nodes[number].attributes:
            if attribute.name in _DIRECT:
                yield attribute.checkpoint_key + _DIRECT[attribute.name], node
        children = view.children(node)
        for child in graph.nodes[number].children:
            if child.node_id not in seen and child.local_name in children:
                seen.add(child.node_id)
                waiting.append((children[child.local_name], child.node_id))


def _named_by_layer(state: Checkpoint, places: dict[str, Any]) -> dict[str, str]:
    """Return the key of a model's weight -> "model/", and its path in the model.

    TensorFlow would name it after the shortest way to it, which leads through the optimizer's list of variables. A
    checkpoint says itself which key belongs to which object, so that any names can be restored.
    """
    names = weight_names(state.model) if hasattr(state, "model") else {}
    found = {key: names[id(_raw(source))] for key, source in places.items() if id(_raw(source)) in names}
    return {key: f"model/{name}/.ATTRIBUTES/{VARIABLE}" for key, name in found.items()}


def _renamed(graph: TrackableObjectGraph, keys: dict[str, str]) -> TrackableObjectGraph:
    for node in graph.nodes:
        for attribute in node.attributes:
            attribute.checkpoint_key = keys.get(attribute.checkpoint_key, attribute.checkpoint_key)
    return graph


def _raw(source: Any) -> Any:
    return source.value if isinstance(source, keras.Variable) else source


def _copy(value: tf.Tensor) -> tf.Tensor:
    """Return a copy: the tensors of a `DenseHashTable` are those that it goes on to change (TensorFlow 2.21)."""
    return tf.constant(np.array(value), value.dtype)


def _value(source: Any) -> tf.Tensor:
    if isinstance(source, tf.data.Iterator):
        return serialize_iterator(source)
    return tf.convert_to_tensor(_raw(source))
