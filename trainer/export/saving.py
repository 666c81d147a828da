"""The exported model: a .keras file, and a SavedModel that serves without any Python class."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from .inputs import UNNAMED, input_names, inputs_of

KERAS, SAVED_MODEL = "model.keras", "saved_model"
VARIABLE_NAMES = (
    "assets.extra/variable_names.json"  # in a SavedModel, which keeps no layer's name: that of `variables/i`
)

_UNSAVABLE = (NotImplementedError, TypeError, ValueError)  # from Keras; the first if a class lacks `get_config`


def save(model: keras.Model, folder: Path, batch_spec: Any) -> None:
    """Write `model.keras` and `saved_model/` below a folder; warn of one of them that cannot be written.

    Args:
      model: the built model.
      folder: exists.
      batch_spec: a nest of `tf.TensorSpec`, a batch, of which a subclassed model takes its inputs; or None.

    Raises:
      UsageError: neither can be written.
    """
    problems = {}
    for name, write in ((KERAS, _save_keras), (SAVED_MODEL, _save_serving)):
        try:
            write(model, folder / name, batch_spec)
        except _UNSAVABLE as error:
            problems[name] = f"{name} cannot be written: {_without_examples(error)}"
            _remove(folder / name)
    if len(problems) == 2:
        raise UsageError(f"The model cannot be exported. {' '.join(problems.values())}")
    for problem in problems.values():
        logging.warning("Export: %s", problem)


def _save_keras(model: keras.Model, path: Path, _: Any) -> None:
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        needed = sorted(set(_own_classes(json.loads(archive.read("config.json")))))
    if needed:
        logging.warning(
            "Export: to load %s, import these first, or give them as custom_objects: %s. %s/ needs none of them.",
            path.name,
            ", ".join(needed),
            SAVED_MODEL,
        )


def _own_classes(config: Any) -> Iterator[str]:
    """Yield the classes and functions in a saved config that are not Keras's own."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__":
            yield "a lambda (keras.models.load_model(..., safe_mode=False))"
        elif config.get("class_name") == "function":
            yield str(config.get("config"))
        elif "class_name" in config and not str(config.get("module", "keras")).startswith("keras"):
            yield f"{config['module']}.{config['class_name']}" if config["module"] else config["class_name"]
        config = list(config.values())
    for each in config if isinstance(config, list) else ():
        yield from _own_classes(each)


def _save_serving(model: keras.Model, path: Path, batch_spec: Any) -> None:
    def serve(inputs: Any) -> Any:
        return model(inputs, training=False)

    archive: Any = keras.export.ExportArchive()  # Keras's types cover every backend
    archive.track(model)
    archive.add_endpoint("serve", serve, input_signature=[serving_spec(model, batch_spec)])
    archive.write_out(str(path), verbose=False)
    names = path / VARIABLE_NAMES
    names.parent.mkdir()
    names.write_text(json.dumps([variable.path for variable in archive.variables]))


def serving_spec(model: keras.Model, batch_spec: Any) -> Any:
    """Return the inputs of the model as a nest of named `tf.TensorSpec`, of any number of examples.

    Raises:
      UsageError: a subclassed model's are not found in the batch.
    """
    names = input_names(model)
    if names is None:
        if batch_spec is None:
            raise UsageError(
                "the inputs of a subclassed model are known from its data alone: bind Trainer.train_dataset."
            )
        fix = "define export(self, model, folder) in the task."
        inputs = inputs_of(model, batch_spec, "the inputs of the model", fix)
        flat = tf.nest.flatten(inputs)
        places = ["inputs"] if len(flat) == 1 else [f"inputs_{i}" for i in range(len(flat))]
        return tf.nest.pack_sequence_as(inputs, [_spec(*each) for each in zip(places, flat, strict=True)])
    tensors = model.inputs if isinstance(model, keras.Sequential) else tf.nest.flatten(model.input)
    flat = _served_names(tf.nest.flatten(names))
    return tf.nest.pack_sequence_as(names, [_spec(*each) for each in zip(flat, tensors, strict=True)])


def _served_names(names: list[str]) -> list[str]:
    """Return the names of inputs as a SavedModel can have them: letters, digits and "_" of ASCII, from a letter on; log others.

    TensorFlow would replace them, and then not find them.
    """
    found: list[str] = []
    for name in names:
        clean = re.sub(r"[^0-9A-Za-z_]", "_", name)
        wanted = clean if clean[:1].isalpha() else f"arg_{clean}"
        while wanted in found:
            wanted += "_"
        if wanted != name and not name.startswith(UNNAMED):
            logging.warning("Export: the input %r is called %r in %s/.", name, wanted, SAVED_MODEL)
        found.append(wanted)
    return found


def _spec(name: str, tensor: Any) -> tf.TensorSpec:
    named = "inputs" if name.startswith(UNNAMED) else name  # several without names are made different by TensorFlow
    return tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=named)


def _without_examples(error: Exception) -> str:
    """Return what a message of Keras's says, without its examples of code."""
    return " ".join(str(error).strip().partition("Example:")[0].split())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
