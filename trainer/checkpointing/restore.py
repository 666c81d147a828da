"""Restoring checkpoints, and saying what does not fit."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ...metrics.errors import UsageError
from ..export.saving import VARIABLE_NAMES
from .folder import CheckpointFolder
from .integrity import damage
from .snapshot import GRAPH, VARIABLE
from .state import GROUPS, LISTED, Checkpoint

_VARIABLE_AT = "variables/{}/.ATTRIBUTES/VARIABLE_VALUE"  # in what Keras's `export` writes
_UNREADABLE = (tf.errors.OpError, IndexError, RuntimeError)
# The parts that a checkpoint may lack -> what that means. A run may get actions later.
_MAY_BE_ABSENT = {
    "actions": "",
    LISTED: "is of an earlier version, and lacks the weights of layers in lists, such as `self.blocks = [...]`, but for those "
    "that the optimizer has: moving statistics and frozen layers begin anew.",
    GROUPS: "is of an earlier version, and lacks what the optimizers of a MultiOptimizer have gathered: they begin anew.",
}
# Place in the object graph -> (name, shape, key in the files).
Shapes = dict[str, tuple[str, tuple[int | None, ...], str]]


class UnreadableCheckpointError(UsageError):
    """A checkpoint's files are damaged or missing."""


def latest(folder: Path) -> str | None:
    """Return the path of the newest undamaged checkpoint; None if there never was one.

    Raises:
      UsageError: there were checkpoints, and none is left.
    """
    found = CheckpointFolder(folder)
    step = newest_usable(found, found.steps(), check_intact)
    if step is None and (found.announced() or found.steps()):
        raise UsageError(_none_left(folder))
    return None if step is None else str(found.prefix(step))


def restore_newest(state: Checkpoint, folder: CheckpointFolder) -> int | None:
    """Restore `state` from the newest readable checkpoint in `folder`; returns its step, None if there is none.

    Raises:
      UsageError: it belongs to another model or optimizer, or there are checkpoints and none is readable.
    """
    complete, announced = folder.steps(), folder.announced()
    newest = complete[-1] if complete else -1
    candidates = {*complete, *(step for step in announced if step > newest)}
    step = newest_usable(folder, candidates, lambda path: restore(state, path))
    if step is None and candidates:
        raise UsageError(_none_left(folder.path))
    return step


def newest_usable(folder: CheckpointFolder, steps: Iterable[int], use: Callable[[str], None]) -> int | None:
    """Call `use(path)` for the checkpoints of these steps, newest first, until one is readable; returns its step.

    Each unreadable one is logged; nothing is deleted. None if there is no readable one.
    """
    for step in sorted(steps, reverse=True):
        try:
            use(str(folder.prefix(step)))
        except UnreadableCheckpointError as error:
            logging.warning("%s Trying the one before it; nothing is deleted.", error)
        else:
            return step
    return None


def check_intact(path: str) -> None:
    """Check the files of the checkpoint at `path` against their checksums.

    Raises:
      UnreadableCheckpointError: they are damaged or missing.
    """
    if problem := damage(Path(path)):
        raise UnreadableCheckpointError(f"The checkpoint {path} is damaged: {problem}.")


def has_averages(path: str) -> bool:
    """Return whether the optimizer in the checkpoint at `path` keeps averages of the weights (`use_ema=True`)."""
    stored = _stored(path, ["optimizer", GROUPS]).values()
    return any(name.endswith("_average") for found in stored for name, _, _ in found.values())


def restore(state: Checkpoint, path: str) -> None:
    """Restore `state` from the checkpoint at `path`.

    Raises:
      UnreadableCheckpointError: it is missing or damaged.
      UsageError: it belongs to another model or optimizer.
    """
    check_intact(path)
    parts = [part for part in ("model", LISTED, "optimizer") if hasattr(state, part)]
    try:
        with _readable(path):
            stored = _stored(path, ["model", LISTED, "optimizer"])
            present = {part: _present(getattr(state, part)) for part in parts}
            if LISTED in parts and not stored[LISTED]:
                _check_listed(state, path)
                del present[LISTED]
            for part in ("model", "optimizer"):
                if part in parts:
                    _compare(path, part, _with_listed(part, stored), _with_listed(part, present))
            _without_absent(state, path).read(path).assert_existing_objects_matched().expect_partial()
    except (ValueError, AssertionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} does not fit this run: {_first_line(error)}") from error


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Turn an error of reading in the block into one that names the checkpoint."""
    try:
        yield
    except _UNREADABLE as error:
        raise UnreadableCheckpointError(f"{path} cannot be read as a checkpoint: {_first_line(error)}.") from error


def _with_listed(part: str, shapes: dict[str, Shapes]) -> Shapes:
    """Return the variables of a part; those of the model with the weights of its layers in lists."""
    listed = shapes.get(LISTED, {}) if part == "model" else {}
    return {**shapes[part], **{f"/{LISTED}{place}": each for place, each in listed.items()}}


def _check_listed(state: Checkpoint, path: str) -> None:
    if not hasattr(state, "loose_variables"):  # which only a training has
        raise UsageError(
            f"{path} is of an earlier version, and lacks the weights of layers in lists, such as `self.blocks = [...]`: expected "
            "one of this version. Train on from it, which writes all weights, and take the next checkpoint."
        )


def _without_absent(state: Checkpoint, path: str) -> Checkpoint:
    """Return the state without the parts that the checkpoint may lack, and does."""
    children = tf.train.TrackableView(state).children(state)
    absent = _MAY_BE_ABSENT.keys() & children.keys() - _roots(_graph(tf.train.load_checkpoint(path))).keys()
    if not absent:
        return state
    for name in absent:
        if _MAY_BE_ABSENT[name]:
            logging.warning("%s %s", path, _MAY_BE_ABSENT[name])
    return tf.train.Checkpoint(**{name: child for name, child in children.items() if name not in absent})


def read_model(path: str) -> dict[str, np.ndarray]:
    """Return the variables of the model in the checkpoint at `path`, by name.

    Raises:
      UnreadableCheckpointError: it is missing or damaged, or has no `model`.
    """
    with _readable(path):
        stored = [each for part in _stored(path, ["model", LISTED]).values() for each in part.values()]
        reader = tf.train.load_checkpoint(path)
        keys = [key for _, _, key in stored]
        names = [name for name, _, _ in stored]
        if "task" in _roots(_graph(reader)):  # it is of this package
            names = _paths(names, keys)
        found = {name: reader.get_tensor(key) for name, key in zip(names, keys, strict=True)}
    if not found:
        raise UnreadableCheckpointError(
            f"{path} has no model: expected a checkpoint written by tf.train.Checkpoint(model=...)."
        )
    return found


def _paths(names: list[str], keys: list[str]) -> list[str]:
    """Return the paths of a model's weights, which their keys have; with the model's name in front, if their names have it.

    The name of a variable lacks that of its layer, if this is in a subclassed model.
    """
    found = [key.removeprefix("model/").removesuffix(f"/.ATTRIBUTES/{VARIABLE}") for key in keys]
    owners = {name.partition("/")[0] for name in names}
    owner = owners.pop() + "/" if len(owners) == 1 else ""
    renamed = [not any(part.startswith("_") for part in path.split("/")) for path in found]
    paths = [path if path.startswith(owner) else owner + path for path in found]
    return [path if is_path else name for is_path, path, name in zip(renamed, paths, names, strict=True)]


def read_saved_model(folder: str) -> dict[str, np.ndarray]:
    """Return the variables of the SavedModel in a folder, by name.

    A name that several have, as TensorFlow does not keep those of the layers, is numbered from the second on: kernel_1.

    Raises:
      UnreadableCheckpointError: its variables are missing or damaged.
    """
    path = f"{folder}/variables/variables"
    with _readable(path):
        reader = tf.train.load_checkpoint(path)
        graph = _graph(reader)
        saved = [(a.full_name, a.checkpoint_key) for node in graph.nodes for a in node.attributes if a.name == VARIABLE]
        values = {key: reader.get_tensor(key) for _, key in saved}
    ours = [(name, key) for name, key in saved if key.startswith("variables/")]  # Keras's `export` lists them twice
    names = Path(folder) / VARIABLE_NAMES
    if names.exists():
        return {name: values[_VARIABLE_AT.format(i)] for i, name in enumerate(json.loads(names.read_text()))}
    found: dict[str, np.ndarray] = {}
    for name, key in ours or saved:
        number = next(i for i in itertools.count() if (f"{name}_{i}" if i else name) not in found)
        found[f"{name}_{number}" if number else name] = values[key]
    return found


def _none_left(folder: Path) -> str:
    return (
        f"{folder} had checkpoints, and none is readable: restore one from a backup, or start over in another --model_dir. "
        "Starting over here would discard the run's history."
    )


def _compare(path: str, part: str, stored: Shapes, present: Shapes) -> None:
    """Compare both ways: a checkpoint of a larger model would otherwise be restored in part, silently."""
    differing = [place for place in sorted(present.keys() | stored.keys()) if not _same(place, stored, present)]
    if not differing:
        return
    lines = [
        f"  {(present.get(place) or stored[place])[0]}: {_shape(stored, place)} in the checkpoint, "
        f"{_shape(present, place)} in the {part}"
        for place in differing
    ]
    raise UsageError(
        f"{path} belongs to another {part} than the config builds:\n"
        + "\n".join(lines[:4] + ([f"  ... and {len(lines) - 4} more"] if len(lines) > 4 else []))
        + "\nUse the config that it was trained with (config.gin in the run folder), or another --model_dir."
    )


def _same(place: str, stored: Shapes, present: Shapes) -> bool:
    return place in stored and place in present and stored[place][1] == present[place][1]


def _shape(shapes: Shapes, place: str) -> str:
    return str(shapes[place][1]) if place in shapes else "absent"


def _present(root: Any) -> Shapes:
    """Return the variables below a live object, by their place in the object graph."""
    view = tf.train.TrackableView(root)
    found: Shapes = {}

    def visit(node, place):
        if isinstance(node, keras.Variable | tf.Variable):
            found[place] = str(getattr(node, "path", node.name)), tuple(node.shape), ""
        return view.children(node).items()

    _walk(root, visit, id)
    return found


def _stored(path: str, parts: list[str]) -> dict[str, Shapes]:
    """Return the variables in a checkpoint, by their place in the object graph that is saved with it."""
    reader = tf.train.load_checkpoint(path)
    graph = _graph(reader)
    shapes = reader.get_variable_to_shape_map()
    roots = _roots(graph)
    result = {}
    for part in parts:
        found: Shapes = {}

        def visit(node, place, found=found):
            for attribute in graph.nodes[node].attributes:
                if attribute.name == VARIABLE and attribute.checkpoint_key in shapes:
                    key = attribute.checkpoint_key
                    found[place] = attribute.full_name, tuple(shapes[key]), key
            return [(child.local_name, child.node_id) for child in graph.nodes[node].children]

        if part in roots:
            _walk(roots[part], visit, lambda node: node)
        result[part] = found
    return result


def _graph(reader: Any) -> TrackableObjectGraph:
    return TrackableObjectGraph.FromString(reader.get_tensor(GRAPH))


def _roots(graph: TrackableObjectGraph) -> dict[str, int]:
    """Return the parts of the state: name -> number in the graph."""
    return {child.local_name: child.node_id for child in graph.nodes[0].children}


def _walk(root: Any, visit: Any, key: Any) -> None:
    """Walk breadth first, children by name, each node once: the same order for live and for saved objects."""
    waiting, seen = [(root, "")], {key(root)}
    while waiting:
        node, place = waiting.pop(0)
        for name, child in sorted(visit(node, place), key=lambda pair: pair[0]):
            if key(child) not in seen:
                seen.add(key(child))
                waiting.append((child, f"{place}/{name}"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
