"""The metrics of a compiled model as tallies, under the names that `fit` reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ...metrics.errors import UsageError
from ...metrics.keras_metrics import KerasMetric
from .arguments import OutputMetric


class Flat(NamedTuple):
    """The arguments of the metrics of a step, flattened.

    Attributes:
      labels: of the outputs.
      outputs: of the model.
      weights: of the examples.
    """

    labels: Sequence[tf.Tensor]
    outputs: Sequence[tf.Tensor]
    weights: Sequence[tf.Tensor]


class CompiledMetric(KerasMetric):
    """A metric of one output.

    Args:
      entry: the metric, and the places of its arguments in a `Flat`.
    """

    def __init__(self, entry: OutputMetric):
        super().__init__(entry.metric)
        self._entry = entry

    def _arguments(self, batch: Any, outputs: Flat) -> list[Any]:
        entry = self._entry
        values = [outputs.labels[entry.label], outputs.outputs[entry.output]]
        if all(each.shape.rank == 1 for each in values):
            values = [each[:, tf.newaxis] for each in values]  # Keras would average over the batch
        return [*values, None if entry.weight is None else outputs.weights[entry.weight]]


def metric_functions(entries: Sequence[OutputMetric]) -> dict[str, CompiledMetric]:
    """Return name -> metric function."""
    return {path_of(entry.name): CompiledMetric(entry) for entry in entries}


def path_of(name: str) -> str:
    """Return Keras's name of a metric as a path.

    Raises:
      UsageError: nothing of it is left.
    """
    path = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
    if not re.search(r"[A-Za-z0-9]", path):
        raise UsageError(f"from_keras: the metric {name!r}: expected a name of letters, digits, '_', '-' and '.'.")
    return path
