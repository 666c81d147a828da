"""The initial weights of a run: from another run's checkpoint, a .keras file, Keras's .weights.h5, or a SavedModel."""

from __future__ import annotations

import collections
import contextlib
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..export.saving import KERAS, SAVED_MODEL
from .restore import read_model, read_saved_model

_SHOWN = 10
_H5 = ".weights.h5"
Shape = tuple[int, ...]
Found = Mapping[str, np.ndarray | h5py.Dataset]  # name -> values, which a dataset reads when they are asked for
Wanted = Mapping[str, tuple[Shape, Callable[[np.ndarray], None]]]  # name -> shape, and what takes the values


def load_weights(model: keras.Model, source: str | Path, name_map: Mapping[str, str]) -> None:
    """Assign the variables in `source` to the model's variables of the same name and shape, and log the rest.

    Args:
      model: the built model.
      source: a checkpoint, such as `folder/ckpt-500`, of a Tallyloop run or of any `tf.train.Checkpoint(model=...)`: its
        weights, not their averages; or a .keras file, whose variables go by their places if the architecture is the same and
        the names are not; or the folder of a SavedModel; or a file that Keras's `save_weights` wrote, whose variables are named
        LAYER/NUMBER, or, for a model of the same architecture, go by their places.
      name_map: regular expression -> replacement, applied to the names in `source`, in order.

    Raises:
      UsageError: `source` cannot be read, two of its names become one, or nothing in it fits.
    """
    source = str(source)
    if source.endswith(".h5"):
        with _h5(model, source, by_place=not name_map) as (wanted, found):
            _load(source, wanted, _renamed(found, name_map))
    else:
        variables = {variable.path: (tuple(variable.shape), variable.assign) for variable in model.weights}
        found = _read(source)
        if source.endswith(".keras") and not name_map:
            found = _by_place(variables, found)
        _load(source, variables, _renamed(found, name_map))


def _by_place(wanted: Wanted, found: Found) -> Found:
    """Return what was found under the names of the model, if the architecture is the same and only the names are others.

    Keras numbers layers without a name by how many the process has made, so that `dense_1` may be the second layer or the first.
    """
    same = [shape for shape, _ in wanted.values()] == [tuple(each.shape) for each in found.values()]
    if not same or len(_origins(list(wanted), list(found))) == len(wanted):
        return found
    return dict(zip(wanted, found.values(), strict=True))


def _load(source: str, wanted: Wanted, found: Found) -> None:
    origins = _origins(list(wanted), list(found))
    fits = {name: origin for name, origin in origins.items() if tuple(found[origin].shape) == wanted[name][0]}
    if not fits:
        raise UsageError(
            f"Trainer.initial_weights = {source!r}: nothing in it fits the model. It has {_some(found)}; the model has "
            f"{_some(wanted)}. Trainer.initial_weights_map renames variables, such as {{'^old/': 'new/'}}."
        )
    for name, origin in fits.items():
        wanted[name][1](found[origin][()])
    logging.warning("Initial weights: %d of the model's %d variables come from %s.", len(fits), len(wanted), source)
    misfits = [
        f"{name} (has {tuple(found[origin].shape)}, expected {wanted[name][0]})"
        for name, origin in origins.items()
        if name not in fits
    ]
    _report("missing in it, so left as initialized", [name for name in wanted if name not in origins])
    _report("of another shape, so left as initialized", misfits)
    _report("in it but not used", [name for name in found if name not in origins.values()])


@contextlib.contextmanager
def _h5(model: keras.Model, source: str, by_place: bool) -> Iterator[tuple[Wanted, Found]]:
    """Yield what the model wants and what the file has, under names of one kind; the model gets its weights at the end.

    Only Keras knows where in such a file a variable is: it writes a file of the model, which takes what fits, and is read back.
    """
    with tempfile.TemporaryDirectory(prefix="tallyloop-") as folder:
        own = Path(folder) / f"own{_H5}"
        model.save_weights(own)
        with _opened(source) as theirs, h5py.File(own, "r+") as ours:
            wanted, found = _datasets(ours), _datasets(theirs)
            if not (by_place and _shapes(wanted) == _shapes(found)):
                wanted, found = _by_layer(ours, wanted), _by_layer(theirs, found)
            yield {name: (tuple(each.shape), _filling(each)) for name, each in wanted.items()}, found
        model.load_weights(own)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[h5py.File]:
    if not source.endswith(_H5):
        raise UsageError(
            f"Trainer.initial_weights = {source!r}: expected a checkpoint, a .keras file, a SavedModel's folder, or a file that "
            f"ends in {_H5}, as Keras 3 writes it; load this one into its model, and save that by model.save('model.keras')."
        )
    if not Path(source).exists():
        raise UsageError(_absent(source))
    try:
        file = h5py.File(source)
    except OSError as error:
        raise UsageError(f"Trainer.initial_weights = {source!r} cannot be read: {error}") from error
    with file:
        for place, dataset in _datasets(file).items():
            if dataset.external or dataset.is_virtual:  # a stranger's file would have another one of this machine read
                raise UsageError(
                    f"Trainer.initial_weights = {source!r}: expected all weights in the file itself, got {place!r}, whose "
                    "numbers lie in another one; load it into its model, and save that by model.save_weights."
                )
        yield file


def _absent(source: str, more: str = "") -> str:
    return f"Trainer.initial_weights = {source!r}: expected a file, which isn't there{more}."


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found = {}
    file.visititems(lambda place, item: found.update({place: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _shapes(datasets: Mapping[str, h5py.Dataset]) -> dict[str, Shape]:
    return {place: tuple(each.shape) for place, each in datasets.items()}


def _by_layer(file: h5py.File, datasets: Mapping[str, h5py.Dataset]) -> dict[str, h5py.Dataset]:
    """Return the variables as LAYER/NUMBER, with the names of the layers around it in front; where two share one, by place."""
    names = {place: _layer_name(file, place) for place in datasets}
    counts = collections.Counter(names.values())
    return {names[place] if counts[names[place]] == 1 else place: each for place, each in datasets.items()}


def _layer_name(file: h5py.File, place: str) -> str:
    """Return the name of a variable at "layers/dense/vars/0", where each group "vars" tells the name of its layer."""
    *groups, _, number = place.split("/")
    found = []
    for depth in range(1, len(groups) + 1):
        path = "/".join([*groups[:depth], "vars"])
        if path in file and "name" in file[path].attrs:
            found.append(file[path].attrs["name"])
    return "/".join([*found, number])


def _filling(dataset: h5py.Dataset) -> Callable[[np.ndarray], None]:
    def fill(values: np.ndarray) -> None:
        dataset[...] = values

    return fill


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
    if (Path(source) / "saved_model.pb").exists():
        return read_saved_model(source)
    if Path(source).is_dir() and not (Path(source) / "checkpoint").exists():
        inside = [each.name for each in Path(source).iterdir() if each.name in (KERAS, SAVED_MODEL)]
        hint = f"; give {source}/{inside[0]}" if inside else ""
        raise UsageError(
            f"Trainer.initial_weights = {source!r}: expected a checkpoint, such as FOLDER/ckpt-500, a .keras or {_H5} file, or "
            f"the folder of a SavedModel, got a folder that is none{hint}."
        )
    is_file = source.endswith(".keras")
    if not tf.io.gfile.exists(source) and not (not is_file and tf.io.gfile.exists(f"{source}.index")):
        raise UsageError(_absent(source, "" if is_file else f", and neither is {source}.index"))
    if not is_file:
        return read_model(source)
    try:
        saved = keras.models.load_model(source, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"Trainer.initial_weights = {source!r} cannot be loaded: {str(error).strip().splitlines()[0]}"
        ) from error
    assert isinstance(saved, keras.Layer), f"{source} holds no model"
    return {variable.path: variable.numpy() for variable in saved.weights}


def _renamed(found: Found, name_map: Mapping[str, str]) -> Found:
    renamed: dict[str, np.ndarray | h5py.Dataset] = {}
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
