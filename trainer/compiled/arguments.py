"""What a model was compiled with: which loss and which metric takes which label, output and weight.

Keras keeps the arguments of `compile`, and the many ways in which they may be nested, in two classes without public names, and so
the mask of a tensor. They are used in this module alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import CompileLoss, CompileMetrics

from ...metrics.errors import UsageError
from ..model.layers import layers_of


class OutputLoss(NamedTuple):
    """The loss of one output.

    Attributes:
      loss: the resolved loss.
      factor: its `loss_weights`; None for 1.
      name: of the metric that is its value, as Keras names it.
      label: the position of its labels in the flattened `y`.
      output: the position of its predictions in the flattened outputs.
      weight: the position of its weights in the flattened `sample_weight`, if there are any.
    """

    loss: keras.losses.Loss
    factor: Any
    name: str
    label: int
    output: int
    weight: int | None


class OutputMetric(NamedTuple):
    """A metric of one output; see `OutputLoss`."""

    metric: keras.metrics.Metric
    name: str
    label: int
    output: int
    weight: int | None


class Compiled(NamedTuple):
    """The losses and metrics of a compiled model, each with the places of its arguments."""

    losses: list[OutputLoss]
    metrics: list[OutputMetric]


def is_compiled(model: keras.Model) -> bool:
    """Return whether `model.compile` was called."""
    return bool(model.compiled)


def mask_of(tensor: Any) -> tf.Tensor | None:
    """Return the mask that a layer has attached to its output."""
    return getattr(tensor, "_keras_mask", None)


def compiled_with(model: keras.Model, y: Any, outputs: Any, weights: Any) -> Compiled:
    """Return what `model` was compiled with.

    Args:
      model: compiled; it is not changed.
      y: a batch of labels, of a few rows.
      outputs: what the model returns for such a batch.
      weights: a batch of sample weights, or None.

    Raises:
      UsageError: the losses or metrics don't fit the labels and outputs.
    """
    if y is None and (model._compile_loss is not None or model._compile_metrics is not None):
        raise UsageError(
            "from_keras: the batches are (x,), and the model is compiled with a loss or metrics, which need labels: expected a "
            "source of (x, y), such as Input((x, y), global_batch_size=32)."
        )
    try:
        return Compiled(_losses(model, y, outputs, weights), _metrics(model, y, outputs, weights))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"from_keras: the losses and metrics of compile don't fit the data: {textwrap.shorten(str(error), 300)}. "
            f"Expected a source of (x, y) or (x, y, sample_weight), whose y has the structure of the model's "
            f"outputs, {shapes_of(outputs)}; got y = {shapes_of(y)}."
        ) from error


def _losses(model: keras.Model, y: Any, outputs: Any, weights: Any) -> list[OutputLoss]:
    given = model._compile_loss
    if given is None:
        return []
    return _Pairing(given._user_loss, given._user_loss_weights, output_names=given.output_names).pairs(
        y, outputs, weights
    )


class _Pairing(CompileLoss):
    """Keras's own walk through labels and outputs, with losses that note what they are given."""

    @property
    def metrics(self) -> list[None]:
        """One for each loss, as Keras has where it tracks them."""
        return [None] * len(self._flat_losses or ())

    def pairs(self, y: Any, outputs: Any, weights: Any) -> list[OutputLoss]:
        """Return the losses with the places of their arguments; the same of a `y` nested in another way is understood."""
        self(y, outputs, weights)
        labels, predictions, weighting = (_places(nest) for nest in (y, outputs, weights))
        found: list[OutputLoss] = []

        def noting(entry: Any) -> Any:
            def note(label: Any, output: Any, weight: Any) -> float:
                places = labels[id(label)], predictions[id(output)], weighting.get(id(weight))
                found.append(OutputLoss(entry.loss, entry.loss_weights, f"{entry.name}_loss", *places))
                return 0.0

            return entry._replace(loss=note)

        self._flat_losses = [noting(entry) for entry in self._flat_losses]
        self(y, outputs, weights)
        return found


def _metrics(model: keras.Model, y: Any, outputs: Any, weights: Any) -> list[OutputMetric]:
    given = model._compile_metrics
    if given is None:
        return []
    resolved = CompileMetrics(given._user_metrics, given._user_weighted_metrics, output_names=given.output_names)
    resolved.build(y, outputs)

    def places(nest: Any) -> list[int]:
        return [_places(nest)[id(leaf)] for leaf in resolved._flatten_y(nest)]

    labels, predictions = places(y), places(outputs)
    weighting: list[int | None] = [None] if weights is None else [*places(weights)]
    weighting = weighting if len(weighting) == len(labels) else weighting[:1] * len(labels)
    names: set[str] = set()
    return [
        OutputMetric(metric, _unique(name, names, weighted), label, output, weight if weighted else None)
        for weighted, groups in ((False, resolved._flat_metrics), (True, resolved._flat_weighted_metrics))
        for group, label, output, weight in zip(groups, labels, predictions, weighting, strict=False)
        for name, metric in _named(group)
    ]


def _named(group: Any) -> Iterator[tuple[str, keras.metrics.Metric]]:
    """Yield the metrics of an output, if it has any, with the names that `fit` reports."""
    for metric in group.metrics if group else ():
        yield f"{group.output_name}_{metric.name}" if group.output_name else metric.name, metric


def _unique(name: str, taken: set[str], weighted: bool) -> str:
    """Return the name under which Keras reports a metric; it counts those of one name, and calls the weighted one so."""
    names = [name, *([f"weighted_{name}"] if weighted else ()), *(f"{name}_{i}" for i in range(1, len(taken) + 1))]
    found = next(each for each in names if each not in taken)
    taken.add(found)
    return found


def _places(nest: Any) -> dict[int, int]:
    return {} if nest is None else {id(leaf): place for place, leaf in enumerate(keras.tree.flatten(nest))}


def shapes_of(nest: Any) -> Any:
    """Return dtype and shape of each tensor, as text."""
    return keras.tree.map_structure(
        lambda leaf: f"{leaf.dtype.name}({', '.join(map(str, ('batch', *leaf.shape[1:])))})", nest
    )


def own_metrics(model: keras.Model) -> Iterator[tuple[str, str]]:
    """Yield (layer, metric) of the Keras metrics that the model and its layers update themselves."""
    for layer in (model, *layers_of(model)):
        for metric in layer._metrics:  # `metrics` of a compiled model has those of `compile`, too
            yield layer.name, metric.name


def overridden(model: keras.Model) -> Sequence[str]:
    """Return the methods of the training step that the model's class overrides."""
    base = keras.Model
    names = ("train_step", "test_step", "compute_loss", "compute_metrics", "predict_step")
    return [name for name in names if getattr(type(model), name, None) is not getattr(base, name)]
