"""Keras callbacks that look at a run, called as an action: for epochs, as `fit` calls them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
from absl import logging

from ...metrics.errors import UsageError
from ...metrics.writers import Summary
from ...metrics.writers.summary import scalars
from ..distribution import workers
from ..loop.acting import instead_of_callback

if TYPE_CHECKING:
    from ..trainer import Trainer

_OF_THE_RUN = re.compile(r"learning_rate(/|$)|skipped$|data/skipped$")
_NEVER_CALLED = ("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end")
_BATCHES = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


def check_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks; log which of their hooks are called otherwise than by `fit`, or not at all.

    Raises:
      UsageError: it is not a list of callbacks, or one of them steers.
    """
    if isinstance(callbacks, keras.callbacks.Callback) or not isinstance(callbacks, Sequence):
        raise UsageError(f"from_keras: callbacks = {callbacks!r}: expected a list of Keras callbacks.")
    for each in callbacks:
        if instead := instead_of_callback(type(each)):
            raise UsageError(
                f"from_keras: the callback {type(each).__name__} steers fit, which does not run: expected callbacks that only "
                f"look. Instead: {instead}."
            )
        if not isinstance(each, keras.callbacks.Callback):
            raise UsageError(
                f"from_keras: callbacks: expected Keras callbacks, got {each!r}; an action goes to actions=[...]."
            )
        _tell_of_hooks(each)
    return list(callbacks)


def _tell_of_hooks(callback: keras.callbacks.Callback) -> None:
    base = keras.callbacks.Callback
    own = {name for name in (*_BATCHES, *_NEVER_CALLED) if _is_overridden(callback, getattr(base, name), name)}
    for names, told in ((_BATCHES, "called once per epoch, for its last batch"), (_NEVER_CALLED, "not called")):
        found = [name for name in names if name in own]
        if found:
            logging.warning("from_keras: %s of %s: %s.", ", ".join(found), type(callback).__name__, told)


def _is_overridden(callback: keras.callbacks.Callback, default: Any, name: str) -> bool:
    return getattr(getattr(callback, name), "__func__", None) is not default


class KerasCallbacks:
    """An action that calls Keras callbacks, on the chief. Its summaries are those of epochs.

    Args:
      callbacks: checked.
      steps: the steps of an epoch.
      epochs: how many there are.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], steps: int, epochs: int):
        self._callbacks = callbacks
        self._params = {"epochs": epochs, "steps": steps, "verbose": 0}
        self._steps = steps
        self._logs: dict[str, float] = {}
        self._missing: set[str] = set()  # the evaluations of this epoch that are still to come
        self._in_epoch = False
        self._trains = False

    def start(self, trainer: Trainer) -> None:
        """Begin training, and the epoch that the run is in."""
        self._trains = workers.is_chief(trainer.strategy) and trainer.step < trainer.train_steps
        if not self._trains:
            return  # a CSVLogger would empty its file
        trainer.model.stop_training = False
        for each in self._callbacks:
            each.set_params(self._params)
            each.set_model(trainer.model)
        self._call("on_train_begin", {})
        self._begin(trainer)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Collect the logs of an epoch from its summaries; end it after the last one."""
        if not workers.is_chief(trainer.strategy):
            return
        if summary.split == "train":
            self._logs = _logs(summary, "")
            self._missing = {*trainer.eval_metrics}
            self._call("on_train_batch_end", self._steps - 1, self._logs)
        elif not self._missing:
            return  # a rerun has repeated an evaluation that was interrupted
        else:
            dataset = summary.split.partition("/")[2] or next(iter(trainer.eval_datasets))
            self._logs |= _logs(summary, "val_" if len(trainer.eval_datasets) == 1 else f"val_{dataset}_")
            self._missing -= {dataset}
        if self._in_epoch and not self._missing:
            self._end_epoch(trainer, summary.step)

    def end(self, trainer: Trainer) -> None:
        """End training."""
        if self._trains:
            self._call("on_train_end", self._logs)

    def _begin(self, trainer: Trainer) -> None:
        self._in_epoch = trainer.step < trainer.train_steps
        if self._in_epoch:
            self._call("on_epoch_begin", trainer.step // self._steps, {})
            self._call("on_train_batch_begin", self._steps - 1, {})

    def _end_epoch(self, trainer: Trainer, step: int) -> None:
        self._in_epoch = False
        self._call("on_epoch_end", -(-step // self._steps) - 1, self._logs)
        if trainer.model.stop_training:
            trainer.stop("a Keras callback has set model.stop_training")
        else:
            self._begin(trainer)

    def _call(self, hook: str, *arguments: Any) -> None:
        for each in self._callbacks:
            given = [dict(argument) if isinstance(argument, dict) else argument for argument in arguments]
            getattr(each, hook)(*given)


def _logs(summary: Summary, prefix: str) -> dict[str, float]:
    """Return the metrics that are numbers, as Keras names them, without those of the run itself, which `fit` has not."""
    return {f"{prefix}{name}": value for name, value in scalars(summary).items() if not _OF_THE_RUN.match(name)}
