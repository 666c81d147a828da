"""What Keras's preprocessing layers have learned from data before training, and whether a rerun has learned the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...metrics.errors import UsageError

_LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup, keras.layers.TextVectorization)
_ROUNDING = 1e-5  # relative: another machine may sum the same data in another order


class Adapted:
    """Notes what layers have learned by `adapt`, and compares it with the note in a checkpoint.

    TensorFlow saves neither a vocabulary nor bin boundaries: they belong to the traced graph, and a rerun learns them again. On
    other data it would learn others, and the restored weights would belong to other tokens.

    Args:
      layers: all layers of the model and the task, built and adapted, in an order that each run has.
    """

    def __init__(self, layers: Sequence[keras.Layer]):
        self._normalizations = [each for each in layers if isinstance(each, keras.layers.Normalization)]
        self._learned = [found for layer in layers if (found := _learned(layer)) is not None]
        self._note = tf.Variable(tf.constant(json.dumps(self._learned)), trainable=False, name="adapted")

    def state(self) -> dict[str, tf.Variable]:
        """The note, if there is anything to note: "adapted"."""
        return {"adapted": self._note} if self._learned else {}

    def check(self) -> None:
        """Compare with what was restored.

        Raises:
          UsageError: a layer has learned something else.
        """
        noted = json.loads(bytes(self._note.numpy()))
        if len(noted) != len(self._learned):
            raise UsageError(
                f"The model and the task: expected {len(noted)} adapted layers, as the run was trained with, got "
                f"{len(self._learned)}: use the config that it was trained with, or another --model_dir."
            )
        for before, now in zip(noted, self._learned, strict=True):
            if not _same(before["values"], now["values"]):
                _refuse(now["layer"], now["what"], before["text"], now["text"])
        for layer in self._normalizations:
            for name in ("mean", "variance"):
                _check_moment(layer, name)


def _learned(layer: keras.Layer) -> dict[str, Any] | None:
    """Return what a layer has learned, as JSON; None for one that learns nothing, or keeps it in variables."""
    if isinstance(layer, _LOOKUPS):
        vocabulary = json.dumps([str(token) for token in layer.get_vocabulary()])
        digest = hashlib.sha256(vocabulary.encode()).hexdigest()
        text = f"{layer.vocabulary_size()} tokens, {vocabulary[:60]}"
        return {"layer": layer.name, "what": "the vocabulary", "values": digest, "text": text}
    if isinstance(layer, keras.layers.Discretization) and layer.bin_boundaries is not None:
        values = [float(value) for value in layer.bin_boundaries]
        return {"layer": layer.name, "what": "the bin boundaries", "values": values, "text": str(values)[:60]}
    return None


def _check_moment(layer: keras.layers.Normalization, name: str) -> None:
    """Compare the variable, which is restored, with what the layer computes with."""
    variable, used = getattr(layer, f"adapt_{name}", None), getattr(layer, name)
    if variable is not None and used is not None:
        before, now = (np.asarray(keras.ops.convert_to_numpy(each)).ravel() for each in (variable, used))
        if not _same(before, now):
            _refuse(layer.name, f"the {name}", str(before)[:60], str(now)[:60])


def _same(before: Any, now: Any) -> bool:
    if isinstance(before, str):
        return before == now
    return np.shape(before) == np.shape(now) and np.allclose(before, now, rtol=_ROUNDING, atol=0)


def _refuse(layer: str, what: str, before: str, now: str) -> None:
    raise UsageError(
        f"Layer {layer}: expected {what} that the run was trained with ({before}), got another ({now}): adapt the layer on the "
        "same data, or choose another --model_dir."
    )
