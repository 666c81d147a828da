"""The task of a compiled model: its forward pass, and its losses and metrics as sums."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from ...data import Input
from ...metrics import add
from ...metrics.errors import UsageError
from ...metrics.tally import Tally
from ..task import SumOfMeans, Task
from .arguments import Compiled, compiled_with, shapes_of
from .class_weights import weights_of_classes
from .cloning import in_scope
from .losses import check_rows_apart, losses_of
from .metrics import Flat, metric_functions, path_of
from .penalties import check_penalties

_ROWS = 3  # of the zeros that show which label belongs to which output; 1 could be taken for a size


class CompiledTask(Task):
    """Trains a compiled Keras model. A batch is `(x, y)` or `(x, y, sample_weight)`; `(x,)` if the model adds all its losses.

    Args:
      model: the compiled model.
      example: a dataset to train or to evaluate on, which shows the structure of a batch.
      class_weight: class -> the weight of its examples in training; None for no weights.
    """

    def __init__(self, model: keras.Model, example: Input, class_weight: Mapping[int, float] | None = None):
        self._given = model
        self._created_for = model.distribute_strategy
        self._example = example
        self._class_weight = class_weight
        self._compiled = Compiled([], [])  # known once the model is built

    def build_model(self) -> keras.Model:
        """Return the compiled model itself or, for another strategy than the one it was created for, a copy."""
        x, y, weights = self._weighted(_zeros(self._example.element_spec))
        with _told_by_shapes(self._given, x):
            model = in_scope(self._given, self._created_for, lambda found: found(x, training=False))
            with keras.StatelessScope():  # nothing that the model counts or draws is changed
                outputs = model(x, training=False)
        check_penalties(model, x)
        self._compiled = compiled_with(self._given, y, outputs, weights)
        labels, predictions = keras.tree.flatten(y), keras.tree.flatten(outputs)
        for entry in self._compiled.losses:
            check_rows_apart(entry, labels[entry.label], predictions[entry.output])
        return model

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics that the model was compiled with."""
        return metric_functions(self._compiled.metrics)

    def train_step(self, model: keras.Model, batch: Any) -> Any:
        """Return (losses, what the metrics are computed from), weighted by class."""
        return self._forward(model, *self._weighted(batch), training=True)

    def loss(self, model: keras.Model, batch: Any, training: bool) -> Any:
        """Return (losses, what the metrics are computed from)."""
        return self._forward(model, *_unpacked(batch), training=training)

    def predict_step(self, model: keras.Model, batch: Any) -> Any:
        """Return the model's outputs."""
        return model(_unpacked(batch)[0], training=False)

    def _weighted(self, batch: Any) -> tuple[Any, Any, Any]:
        x, y, weights = _unpacked(batch)
        if self._class_weight is not None:
            weights = weights_of_classes(y, weights, self._class_weight)
        return x, y, weights

    def _forward(self, model: keras.Model, x: Any, y: Any, weights: Any, training: bool) -> Any:
        outputs = model(x, training=training)
        flat = Flat(*(keras.tree.flatten(nest) for nest in (y, outputs, () if weights is None else weights)))
        return self._losses(flat, x), flat

    def _losses(self, flat: Flat, x: Any) -> Any:
        per_example, tallies = [], []
        for entry in self._compiled.losses:
            weights = None if entry.weight is None or not flat.weights else flat.weights[entry.weight]
            value = losses_of(entry, flat.labels[entry.label], flat.outputs[entry.output], weights)
            if len(self._compiled.losses) > 1:
                add(path_of(entry.name), value)
            (tallies if isinstance(value, Tally) else per_example).append(_scaled(value, entry.factor))
        if not per_example and tallies:
            return tallies[0] if len(tallies) == 1 else SumOfMeans(tallies)
        rows = tf.shape(keras.tree.flatten(x)[0])[:1]
        total = tf.add_n(per_example) if per_example else tf.zeros(rows)  # the model adds all its losses itself
        return SumOfMeans([total, *tallies]) if tallies else total


@contextlib.contextmanager
def _told_by_shapes(model: keras.Model, x: Any) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        message = textwrap.shorten(re.sub(r"\x1b\[[0-9;]*m|Arguments received by[\s\S]*", "", str(error)), 400)
        raise UsageError(
            f"from_keras: the model {model.name!r} does not take the x of the source, {shapes_of(x)}: {message} Expected what "
            "fit takes: Input((x, y), global_batch_size=32)."
        ) from error


def _scaled(value: tf.Tensor | Tally, factor: Any) -> tf.Tensor | Tally:
    if factor is None:
        return value
    return Tally(value.value * factor, value.count) if isinstance(value, Tally) else value * factor


def _unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) of a batch."""
    if not isinstance(batch, tuple) or not 1 <= len(batch) <= 3:
        got = f"a tuple of {len(batch)}" if isinstance(batch, tuple) else f"a {type(batch).__name__}"
        raise UsageError(
            f"from_keras: a batch is {got}: expected (x, y) or (x, y, sample_weight), as fit takes them: "
            "Input((x, y), global_batch_size=32). Several inputs or outputs stand in a tuple or dict: ((x_1, x_2), y)."
        )
    x, y, weights, *_ = (*batch, None, None)
    return x, y, weights


def _zeros(spec: Any) -> Any:
    return tf.nest.map_structure(
        lambda each: tf.zeros([_ROWS, *[size or 1 for size in each.shape[1:]]], each.dtype), spec
    )
