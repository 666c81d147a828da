"""What acts on a run: its actions, what they remember in its checkpoints, and requests to stop."""

from __future__ import annotations

import base64
import contextlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...data.messages.user_frames import at_line
from ...metrics.errors import UsageError, check_parameters, refuse_parameters
from ...metrics.writers import Summary
from ..checkpointing.state import Trackable
from ..distribution import workers

# The callbacks that steer `fit`, and what does that here.
_INSTEAD = {
    "EarlyStopping": "actions=[tallyloop.trainer.actions.EarlyStopping(metric, mode, patience)]",
    "ModelCheckpoint": "model_dir with checkpoint_interval, keep_checkpoints and best_metric; trainer.export for a .keras file",
    "OrbaxCheckpoint": "model_dir with checkpoint_interval, keep_checkpoints and best_metric",
    "BackupAndRestore": "model_dir: the same script continues from its newest checkpoint, to the bit",
    "ReduceLROnPlateau": "an action that sets trainer.optimizer.learning_rate, or a schedule",
    "LearningRateScheduler": "a keras.optimizers.schedules.LearningRateSchedule as the optimizer's learning_rate, in steps",
    "TerminateOnNaN": "on_nonfinite, which halts before the weights are damaged by default",
    "TensorBoard": "model_dir, which has event files of all metrics: tensorboard --logdir",
    "SwapEMAWeights": "use_ema=True of the optimizer: evaluate, predict and export use the averages",
    "ProgbarLogger": "nothing: the console shows the progress and the metrics",
    "CallbackList": "the callbacks themselves, in a list",
}
_ARRAY = "__numpy__"  # the key that marks an array in JSON


class Starts(Protocol):
    """An action that is told when training begins, and need not be called with each summary."""

    def start(self, trainer: Any) -> None:
        """Take that training begins, or goes on, at `trainer.step`."""
        ...


Action = Callable[[Any, Summary], Any] | Starts


class StopRequest:
    """A request to end the run, from an action or from another thread.

    Attributes:
      asked: why this worker is to stop; None until it is asked to. The first reason counts.
      outcome: "stopped at step N: REASON" if the last run ended so, else None.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.outcome: str | None = None

    def ask(self, reason: str) -> None:
        """Ask for the end of the run."""
        if self.asked is None:
            self.asked = reason

    def agree(self, strategy: tf.distribute.Strategy, step: int) -> str:
        """Once any worker has been asked, return the outcome of all of them: the reason of the first that was."""
        asked = workers.exchange(strategy, self.asked or "")
        self.outcome = f"stopped at step {step}: {next(filter(None, asked))}"
        return self.outcome


class Actions:
    """The actions of a run. Their memory is a part of the checkpoint.

    Each is a function of `(trainer, summary)`, or an object with any of the methods that docs/actions.md lists.

    Args:
      actions: called in this order.
      trainer: what they are given.
      stop: where they ask for the end of the run.
    """

    def __init__(self, actions: Sequence[Any], trainer: Any, stop: StopRequest):
        self._actions = actions
        self._trainer = trainer
        self.stop: StopRequest = stop
        # The steps after which an action wants to be called.
        self.marks: frozenset[int] = frozenset(step for each in actions for step in _steps(each))
        self._remembering = _by_name([each for each in actions if has(each, "state")])
        self._memory = tf.Variable(tf.constant("{}"), trainable=False, name="actions")

    @property
    def on_summary(self) -> list[Callable[[Summary], None]]:
        """The functions that are called with each summary."""
        return [partial(self._call, act) for act in self._actions if callable(act)]

    def steps_to_mark(self, step: int) -> int | None:
        """Return the number of steps to the next one after which an action wants to be called."""
        return min((mark - step for mark in self.marks if mark > step), default=None)

    def check(self) -> None:
        """Let each action check, before the first step and before anything is written, that it can do its work.

        Raises:
          UsageError: it cannot, or what it remembers cannot be saved.
        """
        for each in filter(callable, self._actions):
            wrapped = not inspect.isfunction(each) or hasattr(each, "__wrapped__")  # maybe by gin
            refuse_parameters("Trainer.actions", each, 2, "(trainer, summary)", or_more=wrapped)
        self._each("check")
        self._dumped()

    def start(self) -> None:
        """Tell each action that the run begins, or goes on, at the trainer's step."""
        self._each("start")

    def reached(self, step: int) -> None:
        """Call the actions that have named this step."""
        for each in self._actions:
            if step in _steps(each):
                with _named(each, f"at step {step}"):
                    each.reached(self._trainer)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Tell each action at the end of the block, whatever ends it, that the run is over."""
        try:
            yield
        except BaseException as error:
            try:
                self._each("end")
            except Exception as later:
                error.add_note(f"Later: {later!r}")
            raise
        finally:
            self.stop.asked = None
        self._each("end")

    def state(self) -> dict[str, Trackable]:
        """The state of the actions, if any of them has one: "actions"."""
        return {"actions": self._memory} if self._remembering else {}

    def before_save(self) -> None:
        """Ask the actions for what they remember."""
        self._memory.assign(self._dumped())

    def after_restore(self) -> None:
        """Give each action what it remembered; one that isn't in the checkpoint starts anew."""
        memory = json.loads(bytes(self._memory.numpy()), object_hook=_array)
        for name, each in self._remembering.items():
            if name in memory:
                _restore(name, each, memory[name])
        if forgotten := sorted(memory.keys() - self._remembering.keys()):
            logging.warning("Trainer.actions: what %s remembered is dropped: there is no such action now.", forgotten)

    def _call(self, action: Callable[[Any, Summary], Any], summary: Summary) -> None:
        with _named(action, f"after the {summary.split} summary of step {summary.step}"):
            try:
                action(self._trainer, summary)
            except TypeError as error:  # of one that gin wraps, which `check` lets pass
                check_parameters(error, "Trainer.actions", action, 2, "(trainer, summary)")
                raise

    def _dumped(self) -> str:
        return json.dumps({name: _plain(name, each.state()) for name, each in self._remembering.items()})

    def _each(self, method: str) -> None:
        for each in self._actions:
            if has(each, method):
                with _named(each, f"in {method}"):
                    getattr(each, method)(self._trainer)


def has(action: Any, method: str) -> bool:
    """Return whether an action has a method of this name; an attribute of its own with that name is none."""
    return callable(getattr(action, method, None))


def instead_of_callback(kind: type) -> str | None:
    """Return what to use instead of a class of Keras callbacks that steer `fit`; None for any other class."""
    return next((told for name, told in _INSTEAD.items() if issubclass(kind, getattr(keras.callbacks, name))), None)


@contextlib.contextmanager
def _named(action: Any, when: str) -> Iterator[None]:
    """Note on an error which action raised it, and when; a bundled one names itself if it refuses something."""
    try:
        yield
    except Exception as error:
        line = at_line(error)
        if line or not isinstance(error, UsageError):
            name = getattr(action, "name", None) or getattr(action, "__name__", type(action).__name__)
            place = ", " + line.strip(" ()") if line else ""
            error.add_note(f"(Trainer.actions: {name}, {when}{place})")
        raise


def _steps(action: Any) -> Collection[int]:
    """Return the steps that an action wants to be called at."""
    return action.steps if has(action, "reached") else ()


def _by_name(actions: Sequence[Any]) -> dict[str, Any]:
    """Return the actions by their names in the checkpoint: the attribute `name`, or that of the class.

    Raises:
      UsageError: two have the same.
    """
    found: dict[str, Any] = {}
    for each in actions:
        name = getattr(each, "name", type(each).__name__)
        if name in found:
            raise UsageError(
                f"Trainer.actions: expected one action named {name!r} with a state, got two, and the checkpoint could not tell "
                f'them apart: give them different names, as in a/{type(each).__name__}.name = "quick".'
            )
        found[name] = each
    return found


def _restore(name: str, action: Any, memory: Any) -> None:
    try:
        action.restore(memory)
    except Exception as error:
        error.add_note(f"(while the action {name!r} took what it remembered from the checkpoint: {memory!r})")
        raise


def _plain(name: str, value: Any) -> Any:
    """Return a nest of dicts, lists, numbers, strings and NumPy arrays as what JSON holds, to the last bit.

    Raises:
      UsageError: there is something else in it.
    """
    if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_ARRAY: [value.dtype.str, list(value.shape), data, isinstance(value, np.generic)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(name, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(name, each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"Trainer.actions: {name}.state() returned {value!r}: expected dicts with strings as keys, lists, numbers, strings, None "
        "and NumPy arrays, as it is saved in the checkpoint; convert it, such as a tensor with .numpy(), a tuple with list()."
    )


def _array(value: dict[str, Any]) -> Any:
    if _ARRAY not in value:
        return value
    dtype, shape, data, is_scalar = value[_ARRAY]
    array = np.frombuffer(base64.b64decode(data), np.dtype(dtype)).reshape(shape).copy()
    return array[()] if is_scalar else array
