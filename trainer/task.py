"""What a user writes: a model, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..metrics.errors import UsageError
from ..metrics.tally import Tally


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
        """Return the predictions of a batch: a nest of tensors whose first axis is the batch."""
        raise UsageError(f"{type(self).__name__} cannot predict: it must define predict_step(self, model, batch).")

    def export(self, model: keras.Model, folder: Path) -> None:
        """Write the trained model below `folder`, as `model.keras` unless overridden."""
        model.save(folder / "model.keras")

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
    if isinstance(result, tuple) and not isinstance(result, Tally):
        if len(result) != 2:
            raise UsageError(f"loss returned a tuple of {len(result)}: expected losses, a Tally, or (losses, outputs).")
        return result
    return result, None


def loss_tally(losses: Any) -> Tally:
    """Return the losses as a `Tally` of float32, or of float64 if they are float64.

    Raises:
      UsageError: the losses are averaged already (a scalar).
    """
    if isinstance(losses, Tally):
        value = _wide(losses.value)
        return Tally(value, tf.cast(losses.count, value.dtype))
    losses = tf.convert_to_tensor(losses)
    if losses.shape.rank == 0:
        raise UsageError(
            "loss returned a scalar, which is averaged or summed already: return one loss per example, shape (batch,), "
            "or metrics.Tally(sum, count). A mean over unequal pieces cannot be undone."
        )
    value = tf.reduce_sum(_wide(losses))
    return Tally(value, tf.cast(tf.size(losses), value.dtype))


def _wide(losses: Any) -> tf.Tensor:
    losses = tf.convert_to_tensor(losses)
    return losses if losses.dtype == tf.float64 else tf.cast(losses, tf.float32)
