"""What a user writes: a model, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError
from ..metrics.tally import Tally, tally
from .export.inputs import inputs_of
from .export.saving import save

_LOSSES = "one loss per example, a Tally of their sum and count, or (losses, outputs)"


class Task:
    """A model, its loss and its metrics. Subclass it; only `build_model` and `loss` must be written.

    A task never sees a replica: it gets a batch of any size, and returns one loss per example. Sums, counts and
    the division by the global count are the Trainer's.

    Attributes:
      metrics: name -> `fn(batch, outputs) -> (value, count)`, sums over the batch; or a pair `(fn, finish)`; or a Keras
        metric, which gets `batch["y"]` and the outputs (see `metrics.KerasMetric`). Nested dicts become paths.
    """

    metrics: Mapping[str, Any] = {}

    def build_model(self) -> keras.Model:
        """Return the model. Called once, under the strategy's scope."""
        raise NotImplementedError(f"{type(self).__name__} must define build_model(self) -> keras.Model.")

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return the losses of a batch: a tensor with one loss per example, never their mean.

        Args:
          model: what `build_model` returned.
          batch: a nest of tensors whose first axis is the batch.
          training: True in a train step.

        Returns:
          Losses of shape (batch,), or with more axes (one loss per token); or a `Tally` of their sum and their
          count, which is what masked losses need; or a pair `(losses, outputs)`, where the
          metric functions get `outputs`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define loss(self, model, batch, training).")

    def train_step(self, model: keras.Model, batch: Any) -> Any:
        """Run the forward pass of a train step; returns what `loss` returns."""
        return self.loss(model, batch, training=True)

    def eval_step(self, model: keras.Model, batch: Any) -> Any:
        """Run the forward pass of an eval step; returns what `loss` returns."""
        return self.loss(model, batch, training=False)

    def predict_step(self, model: keras.Model, batch: Any) -> Any:
        """Return the predictions of a batch: a nest of tensors whose first axis is the batch.

        By default, what the model returns for its inputs in the batch: of a dict, the keys that are the names of its inputs,
        else "x", else the only key; of a tuple, its first part. A model whose inputs are named otherwise, or whose output is
        not the prediction yet, such as logits, needs a `predict_step` of its own.

        Raises:
          UsageError: the batch has none of these.
        """
        purpose, fix = f"{type(self).__name__} cannot predict", "define predict_step(self, model, batch)"
        return model(inputs_of(model, batch, purpose, fix), training=False)

    def export(self, model: keras.Model, folder: Path, batch_spec: Any = None) -> None:
        """Write the trained model below `folder`: as `model.keras`, and as a SavedModel in `saved_model/`, unless overridden.

        Args:
          model: the trained model, with the averages of its weights if the optimizer keeps any.
          folder: exists. What is written there takes the place of the previous export once this returns.
          batch_spec: a nest of `tf.TensorSpec`, a batch; None if no dataset is bound. An override may leave it out.

        Raises:
          UsageError: the model can be written in neither form.
        """
        save(model, folder, batch_spec)

    def check_data(self, model: keras.Model, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Check a whole dataset before anything is trained or written; for sources that are arrays.

        Args:
          model: what `build_model` returned.
          arrays: the dataset.
          where: the binding that it comes from, to name in an error.

        Raises:
          UsageError: the data cannot be right for the model, such as a label that isn't a class.
        """


def split_outputs(result: Any) -> tuple[Any, Any]:
    """Split what `loss` returned into losses and outputs (None if there are none)."""
    if result is None:
        raise UsageError(f"returned None: expected {_LOSSES}. Does it lack a `return`?")
    if isinstance(result, tuple) and not isinstance(result, Tally):
        if len(result) != 2:
            raise UsageError(f"returned a tuple of {len(result)}: expected {_LOSSES}.")
        return result
    return result, None


def loss_tally(losses: Any) -> Tally:
    """Return the losses as a `Tally` of float32, or of float64 if they are float64.

    Raises:
      UsageError: the losses are averaged already (a scalar).
    """
    if isinstance(losses, Tally):
        return _scalar_tally(losses)
    _check_type(losses)
    losses = tf.convert_to_tensor(losses)
    if not losses.dtype.is_floating:
        raise UsageError(f"returned losses of dtype {losses.dtype.name}: expected floating-point numbers.")
    if losses.shape.rank == 0:
        raise UsageError(
            "returned a scalar, which is averaged or summed already: expected one loss per example, shape (batch,), "
            "or metrics.Tally(sum, count). A mean over unequal pieces cannot be undone."
        )
    wide = _wide(losses)
    # One loss per pixel or token may be so many that one float32 sum is not accurate.
    value = tf.reduce_sum(wide) if wide.shape.rank == 1 else tf.cast(tally(wide).value, wide.dtype)
    return Tally(value, tf.cast(tf.size(losses), value.dtype))


def _scalar_tally(losses: Tally) -> Tally:
    value, count = _wide(losses.value), tf.convert_to_tensor(losses.count)
    if value.shape.rank or count.shape.rank:
        raise UsageError(
            f"returned a Tally of shapes {tuple(value.shape)} and {tuple(count.shape)}: expected two scalars, the sum of the "
            "losses and their count. Sum them, or return the losses themselves."
        )
    return Tally(value, tf.cast(count, value.dtype))


def _check_type(losses: Any) -> None:
    if isinstance(losses, Mapping):
        raise UsageError(
            f"returned a dict of {list(losses)}: expected {_LOSSES}. metrics.composite_loss adds weighted parts up, and records "
            "each."
        )
    if isinstance(losses, tf.RaggedTensor | tf.SparseTensor):
        raise UsageError(
            f"returned a {type(losses).__name__}: expected {_LOSSES}. Sum over the ragged axis, or return "
            "metrics.Tally(sum, count)."
        )


def _wide(losses: Any) -> tf.Tensor:
    losses = tf.convert_to_tensor(losses)
    return losses if losses.dtype == tf.float64 else tf.cast(losses, tf.float32)
