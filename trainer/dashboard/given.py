"""The hyperparameters of a run made in Python: the arguments that it was given, under the names that a config has for them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec

import keras
import numpy as np
from absl import logging

from ...data import Input

Hparams = dict[str, bool | int | float | str]

_PLAIN = (bool, int, float, str)
_ALWAYS = ("global_batch_size", "learning_rate")  # what is compared most, also where it is the default
_NO_SETTINGS = ("train_dataset", "eval_datasets", "model_dir")

_Arguments = ParamSpec("_Arguments")


def remembering(init: Callable[_Arguments, None]) -> Callable[_Arguments, None]:
    """Decorate the Trainer's constructor so that it keeps its arguments as `given`, name -> value.

    What an optimizer was made with is read at once, as training changes its learning rate.
    """
    takes = inspect.signature(init)

    @functools.wraps(init)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        init(*args, **kwargs)
        trainer, *given = takes.bind(*args, **kwargs).arguments.items()
        made: Any = trainer[1]
        made.given = dict(given)
        made.given_optimizers = dict(_optimizers(made.given.get("optimizer")))

    return call


def python_hparams(trainer: Any) -> Hparams:
    """Return binding -> value of a Trainer's own arguments, and of those of its optimizer, its train data and its task.

    What is the default is left out, unless it is a number that was given. Of a task, they are its public attributes that are
    numbers, strings or bools.
    """
    found = dict(_of_trainer(trainer)) | (trainer.given_optimizers or dict(_optimizers(trainer.optimizer)))
    dataset, task = trainer.given.get("train_dataset"), trainer.given["task"]
    if dataset is not None:
        found |= _different("Input", Input.__init__, dataset.settings)
    for name, value in getattr(task, "__dict__", {}).items():
        if isinstance(value, _PLAIN) and name[0] != "_":
            found[f"{type(task).__name__}.{name}"] = value
    return dict(sorted(found.items()))


def _of_trainer(trainer: Any) -> Iterator[tuple[str, Any]]:
    defaults = inspect.signature(type(trainer).__init__).parameters
    for name, value in trainer.given.items():
        given_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_default = name in defaults and _equal(value, defaults[name].default)
        if name not in _NO_SETTINGS and (given_number or not is_default):
            yield f"Trainer.{name}", _plain(value)


def _different(owner: str, init: Callable[..., None], settings: Mapping[str, Any]) -> Hparams:
    defaults = inspect.signature(init).parameters
    return {
        f"{owner}.{name}": _plain(value)
        for name, value in settings.items()
        if name in _ALWAYS or not _equal(value, getattr(defaults.get(name), "default", None))
    }


def _optimizers(optimizer: Any) -> Iterator[tuple[str, Any]]:
    """Yield what optimizers were made with, `Adam.learning_rate`; those of several losses have the loss before it."""
    if isinstance(optimizer, Mapping):
        for name, each in optimizer.items():
            yield from ((f"{name}/{binding}", value) for binding, value in _optimizers(each))
    elif isinstance(optimizer, keras.optimizers.Optimizer):
        try:
            yield from _of_config(type(optimizer), optimizer.get_config()).items()
        except Exception as error:  # of a user's class
            logging.warning("The hyperparameters of %r are not known: %s", optimizer, error)


def _of_config(made: type, config: Mapping[str, Any]) -> Hparams:
    """Return what differs from the defaults of a class, and of the class of a schedule in it."""
    settings = {name: value for name, value in config.items() if name != "name"}
    schedules = {name: value for name, value in settings.items() if isinstance(value, Mapping) and "config" in value}
    found = _different(made.__name__, made.__init__, {**settings, **{k: v["class_name"] for k, v in schedules.items()}})
    for schedule in schedules.values():
        inner = {name: value for name, value in schedule["config"].items() if name != "name"}
        found |= {f"{schedule['class_name']}.{name}": _plain(value) for name, value in inner.items()}
    return found


def _equal(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return isinstance(value, (*_PLAIN, tuple, list)) and type(value) is type(default) and value == default


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, float):
        return float(str(np.float32(value))) if float(np.float32(value)) == value else value  # as it was written
    if isinstance(value, _PLAIN):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of NumPy's
        return _plain(value.item())
    return _text(value)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str | Path | bool | int | float):
        return str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, Sequence):
        return ", ".join(map(_text, value))
    return getattr(value, "__name__", None) or type(value).__name__
