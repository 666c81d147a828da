"""The initial weights of a run, from another run's checkpoint or a .keras file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from absl import logging

from ...metrics.errors import UsageError
from .restore import read_model

_SHOWN = 10


def load_weights(model: keras.Model, source: str | Path, name_map: Mapping[str, str]) -> None:
    """Assign the variables in `source` to the model's variables of the same name and shape, and log the rest.

    Args:
      model: the built model.
      source: a checkpoint, such as `folder/ckpt-500`, of a Tallyloop run or of any `tf.train.Checkpoint(model=...)`: its
        weights, not their averages; or a .keras file.
      name_map: regular expression -> replacement, applied to the names in `source`, in order.

    Raises:
      UsageError: `source` cannot be read, two of its names become one, or nothing in it fits.
    """
    found = _renamed(_read(str(source)), name_map)
    variables = {variable.path: variable for variable in model.weights}
    origins = _origins(list(variables), list(found))
    fits = {name: origin for name, origin in origins.items() if found[origin].shape == tuple(variables[name].shape)}
    if not fits:
        raise UsageError(
            f"Trainer.initial_weights = {str(source)!r}: nothing in it fits the model. It has {_some(found)}; the model has "
            f"{_some(variables)}. Trainer.initial_weights_map renames variables, such as {{'^old/': 'new/'}}."
        )
    for name, origin in fits.items():
        variables[name].assign(found[origin])
    logging.warning("Initial weights: %d of the model's %d variables come from %s.", len(fits), len(variables), source)
    misfits = [
        f"{name} (has {found[origin].shape}, expected {tuple(variables[name].shape)})"
        for name, origin in origins.items()
        if name not in fits
    ]
    _report("missing in it, so left as initialized", [name for name in variables if name not in origins])
    _report("of another shape, so left as initialized", misfits)
    _report("in it but not used", [name for name in found if name not in origins.values()])


def _report(what: str, names: list[str]) -> None:
    if names:
        logging.warning("Initial weights: %s: %s.", what, _some(names))


def _origins(wanted: list[str], found: list[str]) -> dict[str, str]:
    """Return the name of a variable -> its name in the source, with or without the model's name in front."""
    by_name = {_bare(name, found): name for name in found} | {name: name for name in found}
    candidates = {name: (name, _bare(name, wanted)) for name in wanted}
    return {
        name: next(by_name[candidate] for candidate in pair if candidate in by_name)
        for name, pair in candidates.items()
        if any(candidate in by_name for candidate in pair)
    }


def _bare(name: str, names: list[str]) -> str:
    """Return `name` without its first part if all names share it: Keras may put the model's name there."""
    first, _, rest = name.partition("/")
    return rest if rest and all(each.startswith(first + "/") for each in names) else name


def _read(source: str) -> dict[str, np.ndarray]:
    if source.endswith(".h5"):
        raise UsageError(
            f"Trainer.initial_weights = {source!r}: expected a checkpoint, or a .keras file, which has variable names."
        )
    if not source.endswith(".keras"):
        return read_model(source)
    try:
        saved = keras.models.load_model(source, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"Trainer.initial_weights = {source!r} cannot be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
    assert isinstance(saved, keras.Layer), f"{source} holds no model"
    return {variable.path: variable.numpy() for variable in saved.weights}


def _renamed(found: Mapping[str, np.ndarray], name_map: Mapping[str, str]) -> dict[str, np.ndarray]:
    renamed: dict[str, np.ndarray] = {}
    for name, value in found.items():
        new = name
        for pattern, replacement in name_map.items():
            try:
                new = re.sub(pattern, replacement, new)
            except (re.error, IndexError) as error:
                raise UsageError(f"Trainer.initial_weights_map: {pattern!r} -> {replacement!r}: {error}.") from error
        if new in renamed:
            raise UsageError(f"Trainer.initial_weights_map gives two variables the name {new!r}: change its patterns.")
        renamed[new] = value
    return renamed


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
