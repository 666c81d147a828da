"""Random losses with masks and penalties, and the training that they make, written out in NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tallyloop.metrics import Tally

FEATURES = 3
TOLERANCE = 1e-5  # of a float32 training of a few steps


@dataclasses.dataclass(frozen=True)
class Loss:
    """A squared error with a mask and penalties, of a model that is one Dense layer.

    Attributes:
      units: of the layer.
      masked: whether `mask` weights the elements, and the loss is a Tally.
      weight_penalty: factor of the sum of the squared weights.
      row_penalty: factor of the mean of the squared outputs.
      row_kind: whether that one is an `activity_regularizer` or an `add_loss`.
      learning_rate: of SGD; 0 where the order of the rows is not known.
    """

    units: int
    masked: bool
    weight_penalty: float
    row_penalty: float
    row_kind: Literal["activity_regularizer", "add_loss"]
    learning_rate: float

    @property
    def name(self) -> str:
        """Its name on the page."""
        row_kind = [self.row_kind] if self.row_penalty else []
        regularizer = ["kernel_regularizer"] if self.weight_penalty else []
        return " + ".join(["a masked Tally" if self.masked else "one loss per example", *row_kind, *regularizer])

    def model(self) -> keras.Model:
        """Return the model."""

        def of_rows(outputs: Any) -> Any:  # Keras divides it by the rows
            return self.row_penalty * keras.ops.sum(outputs**2) / self.units

        is_regularizer = self.row_penalty and self.row_kind == "activity_regularizer"
        layers = [
            keras.layers.Dense(
                self.units,
                kernel_regularizer=keras.regularizers.L2(self.weight_penalty) if self.weight_penalty else None,
                activity_regularizer=of_rows if is_regularizer else None,
            )
        ]
        if self.row_penalty and not is_regularizer:
            layers.append(Penalized(self.row_penalty))
        return keras.Sequential([keras.Input((FEATURES,)), *layers])

    def losses(self, outputs: Any, batch: Any) -> Any:
        """Return what the task's `loss` returns."""
        errors = (outputs - batch["y"]) ** 2
        if not self.masked:
            return errors
        return Tally(tf.reduce_sum(errors * batch["mask"]), tf.reduce_sum(batch["mask"]))


class Penalized(keras.layers.Layer):
    """A layer that adds a penalty on its inputs, their mean square, with `add_loss`."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def call(self, inputs):
        """Add the penalty."""
        self.add_loss(self.factor * keras.ops.mean(inputs**2))
        return inputs


def random_loss(rng: np.random.Generator, is_ordered: bool) -> Loss:
    """Return a loss; one that trains if the order of the rows is known."""
    return Loss(
        units=int(rng.integers(1, 3)),
        masked=bool(rng.random() < 0.6),
        weight_penalty=float(rng.choice([0, 0.5])),
        row_penalty=float(rng.choice([0, 0.5])),
        row_kind="add_loss" if rng.random() < 0.4 else "activity_regularizer",
        learning_rate=0.125 if is_ordered else 0.0,
    )


def random_rows(rng: np.random.Generator, rows: int, units: int) -> dict[str, np.ndarray]:
    """Return the data: inputs, labels, a mask of the elements, and the numbers of the rows."""
    return {
        "row": np.arange(rows),
        "x": rng.normal(size=(rows, FEATURES)).astype(np.float32),
        "y": rng.normal(size=(rows, units)).astype(np.float32),
        "mask": (rng.integers(0, 4, (rows, units)) / 2).astype(np.float32),
    }


class PlainTraining:
    """The training on one device: a gradient of all rows of an update, in float64.

    Args:
      loss: what is trained.
      data: all rows.
      weights: the first kernel and bias.
    """

    def __init__(self, loss: Loss, data: dict[str, np.ndarray], weights: Sequence[np.ndarray]):
        self._loss = loss
        self._data = {name: data[name].astype(np.float64) for name in ("x", "y", "mask")}
        self.kernel, self.bias = (each.astype(np.float64) for each in weights)
        self._sums = np.zeros((2, 2))  # (loss, penalty of rows) x (value, count)

    def take_recorded(self) -> float:
        """Return the metric `loss` of the steps since the last call: the mean of the losses and that of the penalties."""
        sums, self._sums = self._sums, np.zeros((2, 2))
        return float((sums[:, 0] / np.maximum(sums[:, 1], 1e-30)).sum())

    def record(self, rows: np.ndarray) -> None:
        """Add a step's rows to the metric."""
        _, errors, outputs, mask = self._forward(rows)
        penalty = self._loss.weight_penalty * (self.kernel**2).sum()
        self._sums[0] += (errors**2 * mask).sum(), mask.sum()
        self._sums[1] += (self._loss.row_penalty * (outputs**2).mean() + penalty) * len(rows), len(rows)

    def update(self, rows: np.ndarray) -> None:
        """Make one update with the gradient of all these rows."""
        x, errors, outputs, mask = self._forward(rows)
        of_outputs = 2 * errors * mask / max(mask.sum(), 1e-30) + 2 * self._loss.row_penalty * outputs / outputs.size
        of_kernel = x.T @ of_outputs + 2 * self._loss.weight_penalty * self.kernel
        self.kernel = self.kernel - self._loss.learning_rate * of_kernel
        self.bias = self.bias - self._loss.learning_rate * of_outputs.sum(0)

    def _forward(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x, y = self._data["x"][rows], self._data["y"][rows]
        outputs = x @ self.kernel + self.bias
        mask = self._data["mask"][rows] if self._loss.masked else np.ones_like(y)
        return x, outputs - y, outputs, mask
