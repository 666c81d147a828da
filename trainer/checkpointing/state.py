"""What a checkpoint holds: the parts of a run's state, and how each gets in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import keras
import tensorflow as tf

from ..model.layers import layers_of
from ..model.optimizers import Optimizers, grouped
from .adapted import Adapted

if TYPE_CHECKING:
    # To the stubs of TensorFlow, `tf.train` is anything: they define it, but `tf` does not import it.
    from tensorflow.train import Checkpoint  # pyright: ignore[reportMissingModuleSource]
else:
    Checkpoint = tf.train.Checkpoint

_TABLES = (tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable)
GROUPS = "grouped_optimizers"  # the name of the optimizers of a MultiOptimizer
LISTED = "listed_weights"  # the name of the weights that TensorFlow does not find below the model
Trackable = Any  # whatever tf.train.Checkpoint can hold


class Part(Protocol):
    """A part of a run's state that is saved in its checkpoints."""

    def state(self) -> Mapping[str, Trackable]:
        """Return name -> what to save. Called once everything has been traced; the names are those in the files."""
        ...

    def before_save(self) -> None:
        """Copy to `state` whatever lives elsewhere. Called on every worker, before a checkpoint."""
        ...

    def after_restore(self) -> None:
        """Continue from what `state` holds now. Called on every worker, after a restore."""
        ...


class RunState:
    """All parts of a run's state: together, what it needs to go on as if it had never stopped."""

    def __init__(self, parts: Sequence[Part]):
        self._parts = parts

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint of all parts, to be written or restored."""
        states = [part.state() for part in self._parts]
        merged = {name: item for state in states for name, item in state.items()}
        assert len(merged) == sum(map(len, states)), "two parts of the state share a name"
        return tf.train.Checkpoint(**merged)

    def before_save(self) -> None:
        """Bring every part to where it is saved from; on every worker."""
        for part in self._parts:
            part.before_save()

    def after_restore(self) -> None:
        """Let every part continue from what was restored; on every worker."""
        for part in self._parts:
            part.after_restore()


class ModelState:
    """The model, its optimizer, and the variables that the task holds itself. A part of the checkpoint.

    Args:
      task: the layers, models and variables in its attributes, such as a teacher, are saved too.
      model: the built model.
      optimizer: the built optimizer, or that of each of several losses by name; None for what evaluation alone needs.
      forward_variables: returns what a forward pass changes; variables among them that belong neither to the model nor to
        the task are saved too.
    """

    def __init__(
        self,
        task: Any,
        model: keras.Model,
        optimizer: Optimizers | None,
        forward_variables: Callable[[], Sequence[keras.Variable]] | None = None,
    ):
        self._task = task
        self._model = model
        self._optimizer = optimizer
        self._forward_variables = forward_variables
        self._adapted: Adapted | None = None

    def state(self) -> dict[str, Trackable]:
        """The model, the optimizer if there is one, and the loose variables if training goes on from here."""
        self._adapted = Adapted([*layers_of(self._model), *owned_layers(self._task)])
        found = {**model_state(self._model), "task": _owned(self._task), **self._adapted.state()}
        if self._optimizer is not None:
            found |= optimizer_state(self._optimizer)
        if self._forward_variables is not None:
            found["loose_variables"] = self._loose_variables(self._forward_variables())
        return found

    def before_save(self) -> None:
        """Do nothing: everything is in variables."""

    def after_restore(self) -> None:
        """Check that the layers of this run have learned what those of the restored one had."""
        assert self._adapted is not None, "there is a state to restore"
        self._adapted.check()

    def _loose_variables(self, forward_variables: Sequence[keras.Variable]) -> list[tf.Variable]:
        """Return what Keras lists only in `variables`, where TensorFlow does not look: the state of seed generators (dropout)."""
        found = {id(variable) for variable in (*self._model.weights, *owned_variables(self._task))}
        stateful = {id(v): v for v in (*self._model.variables, *forward_variables) if v.synchronization != "on_read"}
        return [variable.value for key, variable in stateful.items() if key not in found]


def model_state(model: keras.Model) -> dict[str, Trackable]:
    """Return what a checkpoint holds of a model.

    `tf.train.Checkpoint` does not look into the lists and dicts of layers that a subclassed model or layer has as attributes
    (Keras 3.15). Weights in them stand beside the model, by their number in `model.weights`.
    """
    try:
        below = tf.train.TrackableView(model).descendants()
    except ValueError:  # something that no checkpoint can hold, which is told where it is saved
        return {"model": model}
    seen = {id(_raw(each)) for each in below if isinstance(each, keras.Variable | tf.Variable)}
    listed = {str(i): each for i, each in enumerate(model.weights) if id(each.value) not in seen}
    return {"model": model, **({LISTED: tf.train.Checkpoint(**listed)} if listed else {})}


def optimizer_state(optimizer: Optimizers) -> dict[str, Trackable]:
    """Return what a checkpoint holds of an optimizer."""
    groups = {str(i): each for i, each in enumerate(grouped(optimizer))}
    return {"optimizer": optimizer, **({GROUPS: tf.train.Checkpoint(**groups)} if groups else {})}


def owned_variables(task: Any) -> list[keras.Variable | tf.Variable]:
    """Return the variables that a task holds itself."""
    return [variable for _, value in sorted(vars(task).items()) for variable in _variables(value)]


def owned_layers(task: Any) -> list[keras.Layer]:
    """Return the layers that a task holds itself, and those inside them."""
    return [layer for name in sorted(vars(task)) for layer in _layers(vars(task)[name])]


def _owned(task: Any) -> Checkpoint:
    found = {name: [*map(_raw, _variables(value)), *_tables(value)] for name, value in sorted(vars(task).items())}
    return tf.train.Checkpoint(**{name: each for name, each in found.items() if each})


def _tables(value: Any) -> list[Trackable]:
    """Return the hash tables that steps can change, of an attribute, and of lists and dicts in it."""
    if isinstance(value, list | tuple | dict):
        return [each for inner in _values(value) for each in _tables(inner)]
    return [value] if isinstance(value, _TABLES) else []


def _layers(value: Any) -> list[keras.Layer]:
    if isinstance(value, list | tuple | dict):
        return [each for inner in _values(value) for each in _layers(inner)]
    return [value, *layers_of(value)] if isinstance(value, keras.Layer) else []


def _values(value: list | tuple | dict) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _variables(value: Any) -> list[keras.Variable | tf.Variable]:
    """Return the variables of a layer, a seed, a generator, a module, and of lists and dicts of them."""
    if isinstance(value, keras.Layer):
        return list(value.weights)
    if isinstance(value, keras.random.SeedGenerator | tf.random.Generator):
        return [value.state]
    if isinstance(value, tf.Module):
        return list(value.variables)
    if isinstance(value, list | tuple | dict):
        return [each for inner in _values(value) for each in _variables(inner)]
    return [value] if isinstance(value, keras.Variable | tf.Variable) else []


def _raw(variable: keras.Variable | tf.Variable) -> tf.Variable:
    return variable.value if isinstance(variable, keras.Variable) else variable
