"""Checkpoints: what is saved, where, and what happens when it does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ...metrics.errors import UsageError
from .folder import CheckpointFolder, damage

_UNREADABLE = (tf.errors.OpError, IndexError, RuntimeError)
Shapes = dict[str, tuple[str, tuple[int, ...], str]]  # place in the object graph -> (name, shape, key in the files)


class UnreadableCheckpointError(UsageError):
    """A checkpoint's files are damaged or gone."""


def run_state(
    task: Any,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    step: tf.Variable,
    forward_variables: Sequence[keras.Variable],
    more: Mapping[str, Any],
) -> tf.train.Checkpoint:
    """All that a run needs to go on as if it had not stopped.

    Args:
      task: the layers, models and variables that it holds, such as a teacher, are saved too.
      model: the built model.
      optimizer: the built optimizer.
      step: the step variable.
      forward_variables: what a forward pass changes; those that belong neither to the model nor to the task are saved
        too.
      more: name -> what else is part of it: the position in the data, sums that are not written yet.
    """
    # Keras lists the state of seed generators (dropout) in `variables` only: TensorFlow does not find it by itself.
    found = {id(variable) for variable in (*model.weights, *owned_variables(task))}
    stateful = {id(v): v for v in (*model.variables, *forward_variables) if v.synchronization != "on_read"}
    loose = [variable.value for key, variable in stateful.items() if key not in found]
    return tf.train.Checkpoint(
        model=model, optimizer=optimizer, step=step, task=_owned(task), loose_variables=loose, **more
    )


def model_state(
    task: Any, model: keras.Model, step: tf.Variable, averaging: keras.optimizers.Optimizer | None
) -> tf.train.Checkpoint:
    """The part of a checkpoint that evaluation needs; with the optimizer if that keeps averages of the weights."""
    optimizer = {"optimizer": averaging} if averaging else {}
    return tf.train.Checkpoint(model=model, step=step, task=_owned(task), **optimizer)


def owned_variables(task: Any) -> list[keras.Variable | tf.Variable]:
    """The variables that a task holds itself."""
    return [variable for each in _attributes(task).values() for variable in each]


def _owned(task: Any) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(**{name: [_raw(v) for v in found] for name, found in _attributes(task).items()})


def _attributes(task: Any) -> dict[str, list[keras.Variable | tf.Variable]]:
    """Name of an attribute -> the variables in it, for those that have any."""
    found = {name: _variables(value) for name, value in sorted(vars(task).items())}
    return {name: variables for name, variables in found.items() if variables}


def _variables(value: Any) -> list[keras.Variable | tf.Variable]:
    """Those of a layer, a seed, a generator, a module, and of lists and dicts of them."""
    if isinstance(value, keras.Layer):
        return list(value.weights)
    if isinstance(value, keras.random.SeedGenerator | tf.random.Generator):
        return [value.state]
    if isinstance(value, tf.Module):
        return list(value.variables)
    if isinstance(value, list | tuple | dict):
        return [each for inner in (value.values() if isinstance(value, dict) else value) for each in _variables(inner)]
    return [value] if isinstance(value, keras.Variable | tf.Variable) else []


def _raw(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable


def latest(folder: Path) -> str | None:
    """The path of the newest checkpoint that is not damaged, if there ever was one.

    Raises:
      UsageError: there were checkpoints, and none is left.
    """
    found = CheckpointFolder(folder)
    for step in reversed(found.steps()):
        if (problem := found.damage(step)) is None:
            return str(found.prefix(step))
        logging.warning("The checkpoint %s is damaged: %s. The one before it is tried.", found.prefix(step), problem)
    if found.announced() or found.steps():
        raise UsageError(_none_left(folder))
    return None


def restore_newest(state: tf.train.Checkpoint, folder: CheckpointFolder) -> int | None:
    """Restores `state` from the newest checkpoint in `folder` that can be read; returns its step, None if there is none.

    Raises:
      UsageError: it is of another model or optimizer, or there are checkpoints and none can be read.
    """
    complete, announced = folder.steps(), folder.announced()
    newest = complete[-1] if complete else -1
    for step in sorted({*complete, *(step for step in announced if step > newest)}, reverse=True):
        try:
            restore(state, str(folder.prefix(step)))
        except UnreadableCheckpointError as error:
            logging.warning("%s The one before it is tried; nothing is deleted.", error)
        else:
            return step
    if complete or announced:
        raise UsageError(_none_left(folder.path))
    return None


def has_averages(path: str) -> bool:
    """Tells whether the optimizer in the checkpoint at `path` keeps averages of the weights (`use_ema=True`)."""
    names = (name for name, _, _ in _stored(path, ["optimizer"])["optimizer"].values())
    return any(name.endswith("_average") for name in names)


def restore(state: tf.train.Checkpoint, path: str) -> None:
    """Restores `state` from the checkpoint at `path`.

    Raises:
      UnreadableCheckpointError: it is not there, or damaged.
      UsageError: it is of another model or optimizer.
    """
    if problem := damage(Path(path)):
        raise UnreadableCheckpointError(f"The checkpoint {path} is damaged: {problem}.")
    parts = [part for part in ("model", "optimizer") if hasattr(state, part)]
    try:
        stored = _stored(path, parts)
        present = {part: _present(getattr(state, part)) for part in parts}
        for part in parts:
            _compare(path, part, stored[part], present[part])
        state.read(path).assert_existing_objects_matched().expect_partial()
    except _UNREADABLE as error:
        raise UnreadableCheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}.") from error
    except (ValueError, AssertionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} does not fit this run: {_first_line(error)}") from error


def read_model(path: str) -> dict[str, np.ndarray]:
    """The variables of the model in the checkpoint at `path`, by name.

    Raises:
      UnreadableCheckpointError: it is not there, or damaged, or holds no `model`.
    """
    try:
        stored = _stored(path, ["model"])["model"].values()
        reader = tf.train.load_checkpoint(path)
        found = {name: reader.get_tensor(key) for name, _, key in stored}
    except _UNREADABLE as error:
        raise UnreadableCheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}.") from error
    if not found:
        raise UnreadableCheckpointError(f"{path} holds no model: wanted what tf.train.Checkpoint(model=...) writes.")
    return found


def _none_left(folder: Path) -> str:
    return (
        f"{folder} had checkpoints, and none can be read: bring one back, or start over in another --model_dir. "
        "Starting over here would throw the run's history away."
    )


def _compare(path: str, part: str, stored: Shapes, present: Shapes) -> None:
    """Both ways: a checkpoint of a larger model would otherwise be restored in part, in silence."""
    differing = [place for place in sorted(present.keys() | stored.keys()) if not _same(place, stored, present)]
    if not differing:
        return
    lines = [
        f"  {(present.get(place) or stored[place])[0]}: {_shape(stored, place)} in the checkpoint, "
        f"{_shape(present, place)} in the {part}"
        for place in differing
    ]
    raise UsageError(
        f"{path} is of another {part} than the config builds:\n"
        + "\n".join(lines[:4] + ([f"  ... and {len(lines) - 4} more"] if len(lines) > 4 else []))
        + "\nUse the config it was trained with (config.gin in the run's folder), or another --model_dir."
    )


def _same(place: str, stored: Shapes, present: Shapes) -> bool:
    return place in stored and place in present and stored[place][1] == present[place][1]


def _shape(shapes: Shapes, place: str) -> str:
    return str(shapes[place][1]) if place in shapes else "absent"


def _present(root: Any) -> Shapes:
    """The variables below a live object, by their place in the object graph."""
    view = tf.train.TrackableView(root)
    found: Shapes = {}

    def visit(node, place):
        if isinstance(node, keras.Variable | tf.Variable):
            found[place] = getattr(node, "path", node.name), tuple(node.shape), ""
        return view.children(node).items()

    _walk(root, visit, id)
    return found


def _stored(path: str, parts: list[str]) -> dict[str, Shapes]:
    """The same of a checkpoint, by the object graph that is saved with it."""
    reader = tf.train.load_checkpoint(path)
    graph = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    shapes = reader.get_variable_to_shape_map()
    roots = {child.local_name: child.node_id for child in graph.nodes[0].children}
    result = {}
    for part in parts:
        found: Shapes = {}

        def visit(node, place, found=found):
            for attribute in graph.nodes[node].attributes:
                if attribute.checkpoint_key in shapes:
                    key = attribute.checkpoint_key
                    found[place] = attribute.full_name, tuple(shapes[key]), key
            return [(child.local_name, child.node_id) for child in graph.nodes[node].children]

        _walk(roots[part], visit, lambda node: node) if part in roots else None
        result[part] = found
    return result


def _walk(root: Any, visit: Any, key: Any) -> None:
    """Breadth first, children by name, each node once: the same order for live objects and for saved ones."""
    waiting, seen = [(root, "")], {key(root)}
    while waiting:
        node, place = waiting.pop(0)
        for name, child in sorted(visit(node, place), key=lambda pair: pair[0]):
            if key(child) not in seen:
                seen.add(key(child))
                waiting.append((child, f"{place}/{name}"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
