"""Checkpoints: what is saved, where, and what happens when it does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ..metrics.errors import UsageError


def run_state(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, step: tf.Variable, data: Mapping[str, Any]
) -> tf.train.Checkpoint:
    """All that a run needs to go on as if it had not stopped.

    Args:
      model: the built model.
      optimizer: the built optimizer.
      step: the step variable.
      data: what the train data has to save.
    """
    # Keras lists the state of seed generators (dropout) in `variables` only: TensorFlow does not find it by itself.
    weights = {id(variable) for variable in model.weights}
    seeds = [variable.value for variable in model.variables if id(variable) not in weights]
    return tf.train.Checkpoint(
        model=model, optimizer=optimizer, step=step, seeds=seeds, data=tf.train.Checkpoint(**data)
    )


def model_state(model: keras.Model, step: tf.Variable) -> tf.train.Checkpoint:
    """The part of a checkpoint that evaluation needs."""
    return tf.train.Checkpoint(model=model, step=step)


def latest(folder: Path) -> str | None:
    """The path of the newest checkpoint in `folder`, if any."""
    return tf.train.latest_checkpoint(str(folder))


class Saver:
    """Saves a run's state as `folder/ckpt-STEP`, and deletes what is past the newest `keep`.

    Args:
      state: what to save.
      folder: made at the first save.
      keep: how many to keep.
    """

    def __init__(self, state: tf.train.Checkpoint, folder: Path, keep: int):
        self._manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=keep, checkpoint_name="ckpt")

    def save(self, step: int) -> str:
        """Saves; returns the checkpoint's path."""
        return self._manager.save(checkpoint_number=step)


def restore(state: tf.train.Checkpoint, path: str) -> None:
    """Restores `state` from the checkpoint at `path`.

    Raises:
      UsageError: there is none, it cannot be read, or it is of another model.
    """
    stored = _model_shapes(path)
    present = {variable.path: tuple(variable.shape) for variable in state.model.weights}
    try:
        state.read(path).assert_existing_objects_matched().expect_partial()
    except (ValueError, AssertionError) as error:
        raise UsageError(_mismatch(path, stored, present) or f"{path}: {error}") from error


def _mismatch(path: str, stored: Mapping[str, tuple], present: Mapping[str, tuple]) -> str:
    lines = [
        f"  {name}: {stored.get(name, 'absent')} in the checkpoint, {present.get(name, 'absent')} in the model"
        for name in sorted(present.keys() | stored.keys())
        if present.get(name) != stored.get(name)
    ]
    if not lines:
        return ""
    return (
        f"{path} is of another model than the config builds:\n" + "\n".join(lines[:20]) + "\n"
        "Use the config it was trained with (config.gin in the run's folder), or another --model_dir."
    )


def _model_shapes(path: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each variable of the model in a checkpoint, by the object graph that is saved with it."""
    try:
        reader = tf.train.load_checkpoint(path)
        graph = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read as a checkpoint: {error}") from error
    found, waiting = set(), [child.node_id for child in graph.nodes[0].children if child.local_name == "model"]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [child.node_id for child in graph.nodes[node].children]
    attributes = [attribute for node in found for attribute in graph.nodes[node].attributes]
    return {each.full_name: tuple(shapes[each.checkpoint_key]) for each in attributes if each.checkpoint_key in shapes}
