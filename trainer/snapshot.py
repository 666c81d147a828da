"""Copies of a run's state that another thread can write while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


class Snapshots:
    """Takes snapshots of a `tf.train.Checkpoint`, to be written as what its `write` writes.

    TensorFlow can write in the background itself (`CheckpointOptions(enable_async=True)`), but with Keras 3 only once, and
    without the state of an iterator (TensorFlow 2.21, Keras 3.15).

    A snapshot costs next to nothing: TensorFlow copies a variable whose value is still held elsewhere when it is
    assigned next.

    Args:
      state: with all its variables made.
    """

    def __init__(self, state: tf.train.Checkpoint):
        self._state = state
        self._sources: dict[str, Any] = {}  # key in the files -> a variable or an iterator
        self._graph: bytes = b""

    def take(self, prototype: Path) -> dict[str, tf.Tensor]:
        """Returns key -> value.

        Args:
          prototype: a path that may be written and is of no use afterwards; what the files are to hold is learned once,
            from a checkpoint that TensorFlow writes there.
        """
        if not self._sources:
            self._learn(prototype)
        values = {key: _value(source) for key, source in self._sources.items()}
        return {**values, _GRAPH: tf.constant(self._graph)}

    def _learn(self, prototype: Path) -> None:
        reader = tf.train.load_checkpoint(self._state.write(str(prototype)))
        self._graph = reader.get_tensor(_GRAPH)
        places = list(_places(self._state, TrackableObjectGraph.FromString(self._graph)))
        for key in reader.get_variable_to_shape_map():
            if key != _GRAPH:
                # The key of an iterator's state goes on behind the one in the graph.
                self._sources[key] = next(node for place, node in places if key.startswith(place))


def write(snapshot: dict[str, tf.Tensor], prefix: Path) -> None:
    """Writes `prefix.index` and `prefix.data-00000-of-00001`; may be called in any thread."""
    with tf.device("CPU:0"):
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(snapshot),
            shape_and_slices=[""] * len(snapshot),
            tensors=list(snapshot.values()),
        )


def _places(root: Any, graph: TrackableObjectGraph) -> Iterator[tuple[str, Any]]:
    """(key, live object) of all that the object graph has values for."""
    view, waiting, seen = tf.train.TrackableView(root), [(root, 0)], {0}
    while waiting:
        node, number = waiting.pop()
        yield from ((attribute.checkpoint_key, node) for attribute in graph.nodes[number].attributes)
        children = view.children(node)
        for child in graph.nodes[number].children:
            if child.node_id not in seen and child.local_name in children:
                seen.add(child.node_id)
                waiting.append((children[child.local_name], child.node_id))


def _value(source: Any) -> tf.Tensor:
    if isinstance(source, tf.data.Iterator):
        (resource,) = tf.nest.flatten(source, expand_composites=True)
        refuse = 2  # ExternalStatePolicy.FAIL, as `tf.train.Checkpoint` has it
        return tf.raw_ops.SerializeIterator(resource_handle=resource, external_state_policy=refuse)
    return tf.convert_to_tensor(source.value if isinstance(source, keras.Variable) else source)
