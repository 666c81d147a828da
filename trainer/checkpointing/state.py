"""What a checkpoint holds: the parts of a run's state, and how each gets in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import keras
import tensorflow as tf

if TYPE_CHECKING:
    # To the stubs of TensorFlow, `tf.train` is anything: they define it, but `tf` does not import it.
    from tensorflow.train import Checkpoint  # pyright: ignore[reportMissingModuleSource]
else:
    Checkpoint = tf.train.Checkpoint

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
      optimizer: the built optimizer; None for what evaluation alone needs.
      forward_variables: returns what a forward pass changes; variables among them that belong neither to the model nor to
        the task are saved too.
    """

    def __init__(
        self,
        task: Any,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer | None,
        forward_variables: Callable[[], Sequence[keras.Variable]] | None = None,
    ):
        self._task = task
        self._model = model
        self._optimizer = optimizer
        self._forward_variables = forward_variables

    def state(self) -> dict[str, Trackable]:
        """The model, the optimizer if there is one, and the loose variables if training goes on from here."""
        found = {"model": self._model, "task": _owned(self._task)}
        if self._optimizer is not None:
            found["optimizer"] = self._optimizer
        if self._forward_variables is not None:
            found["loose_variables"] = self._loose_variables(self._forward_variables())
        return found

    def before_save(self) -> None:
        """Do nothing: everything is in variables."""

    def after_restore(self) -> None:
        """Do nothing: everything is in variables."""

    def _loose_variables(self, forward_variables: Sequence[keras.Variable]) -> list[tf.Variable]:
        """Keras lists the state of seed generators (dropout) only in `variables`, where TensorFlow does not look."""
        found = {id(variable) for variable in (*self._model.weights, *owned_variables(self._task))}
        stateful = {id(v): v for v in (*self._model.variables, *forward_variables) if v.synchronization != "on_read"}
        return [variable.value for key, variable in stateful.items() if key not in found]


def owned_variables(task: Any) -> list[keras.Variable | tf.Variable]:
    """Return the variables that a task holds itself."""
    return [variable for each in _attributes(task).values() for variable in each]


def _owned(task: Any) -> Checkpoint:
    return tf.train.Checkpoint(**{name: [_raw(v) for v in found] for name, found in _attributes(task).items()})


def _attributes(task: Any) -> dict[str, list[keras.Variable | tf.Variable]]:
    """Return name of an attribute -> the variables in it, for those that have any."""
    found = {name: _variables(value) for name, value in sorted(vars(task).items())}
    return {name: variables for name, variables in found.items() if variables}


def _variables(value: Any) -> list[keras.Variable | tf.Variable]:
    """Return the variables of a layer, a seed, a generator, a module, and of lists and dicts of them."""
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
