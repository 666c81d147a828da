"""Copies of a run's state that another thread can write while training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ...data.feeds.iterators import serialize_iterator
from .state import Checkpoint

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ITERATOR = "_STATE"  # what the key of an iterator's state has behind the one in the object graph


class Snapshots:
    """Takes snapshots of a `tf.train.Checkpoint`; `write` writes them as the checkpoint's own `write` would.

    TensorFlow can write in the background itself (`CheckpointOptions(enable_async=True)`), but with Keras 3 only once, and
    without the state of an iterator (TensorFlow 2.21, Keras 3.15).

    A snapshot costs next to nothing: TensorFlow copies a variable only when it is next assigned while its value is still
    held elsewhere.

    Args:
      state: all its variables exist.
    """

    def __init__(self, state: Checkpoint):
        self._state = state
        self._sources: dict[str, Any] = {}  # key in the files -> a variable or an iterator
        self._graph: bytes = b""

    def take(self) -> dict[str, tf.Tensor]:
        """Return key -> value."""
        if not self._sources:
            self._graph = _object_graph(self._state)
            self._sources = dict(_places(self._state, TrackableObjectGraph.FromString(self._graph)))
        values = {key: _value(source) for key, source in self._sources.items()}
        return {**values, _GRAPH: tf.constant(self._graph)}


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
    """Sees what would be written, keeps the object graph, and calls the writing off."""

    description = "takes the object graph"
    graph = b""

    def __call__(self, shardable_tensors: Sequence[tf.train.experimental.ShardableTensor]) -> list:
        """Look for the object graph among the tensors of a device."""
        for each in shardable_tensors:
            if each.checkpoint_key == _GRAPH:
                self.graph = tf.get_static_value(each.tensor)
                raise _CalledOffError
        return []


def _object_graph(state: Checkpoint) -> bytes:
    """Return the map of keys to objects that `state.write` would write, without the time of a whole save."""
    spy = _Spy()
    with contextlib.suppress(_CalledOffError):
        options = tf.train.CheckpointOptions(experimental_sharding_callback=spy)
        state.write(tf.constant(""), options)  # pyright: ignore[reportArgumentType]  # the stubs know no tensors here
    return spy.graph


def _places(root: Any, graph: TrackableObjectGraph) -> Iterator[tuple[str, Any]]:
    """Yield (key in the files, live object) for everything that has a value in the object graph."""
    view, waiting, seen = tf.train.TrackableView(root), [(root, 0)], {0}
    while waiting:
        node, number = waiting.pop()
        behind = _ITERATOR if isinstance(node, tf.data.Iterator) else ""
        yield from ((attribute.checkpoint_key + behind, node) for attribute in graph.nodes[number].attributes)
        children = view.children(node)
        for child in graph.nodes[number].children:
            if child.node_id not in seen and child.local_name in children:
                seen.add(child.node_id)
                waiting.append((children[child.local_name], child.node_id))


def _value(source: Any) -> tf.Tensor:
    if isinstance(source, tf.data.Iterator):
        return serialize_iterator(source)
    return tf.convert_to_tensor(source.value if isinstance(source, keras.Variable) else source)
