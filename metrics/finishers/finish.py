"""Finishers: what is written of a reduced tally."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally, tally
from . import confusion, histograms

Finished = float | np.ndarray | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Finisher:
    """Turns a reduced tally into what is written. Two finishers of one `key` are the same.

    Attributes:
      name: how an error calls it.
      key: what tells it from others; functions made anew in each trace of the same line share one.
      finish: `(value, count) -> float`, an array, or a dict of path suffix -> float; both arguments are float64
        NumPy arrays, and some count is not 0.
      tally: how `metrics.add` sums the values of a step for it.
      combine: "sum", or "max" for a value that is the largest instead.
      per_second: divide by the seconds that the sums span.
    """

    name: str
    key: Any = dataclasses.field(repr=False)
    finish: Callable[[np.ndarray, np.ndarray], Finished] = dataclasses.field(compare=False)
    tally: Callable[[tf.Tensor, tf.Tensor | None], Tally] = dataclasses.field(default=tally, compare=False)
    combine: str = "sum"
    per_second: bool = False


def _mean(value, count):
    return value / count


def _std(value, count):
    """Population standard deviation from the sums of x and x^2: sqrt(E[x^2] - E[x]^2)."""
    mean, mean_square = value / count
    return np.sqrt(np.maximum(mean_square - mean**2, 0.0))


def _tally_moments(values, weights):
    """Sums of x and x^2, in float64: their difference cancels."""
    values = tf.cast(values, tf.float64)
    weights = None if weights is None else tf.cast(weights, tf.float64)
    first, second = tally(values, weights), tally(values**2, weights)
    return Tally(tf.stack([first.value, second.value]), first.count)


def _tally_last_axis(values, weights):
    return tally(values, weights, keep_axis=-1)


def _tally_largest(values, weights):
    """The largest value that counts; -inf where none does."""
    counted = tally(values, weights)
    values = tf.cast(values, tf.float64)
    if weights is not None:
        weights = tally_weights(weights, values)
        values = tf.where(weights != 0, values, tf.constant(-np.inf, tf.float64))
    return Tally(tf.reduce_max(values), counted.count)


def _tally_smallest(values, weights):
    """The smallest, as the largest of the negated ones."""
    return _tally_largest(-tf.cast(values, tf.float64), weights)


def tally_weights(weights: Any, values: tf.Tensor) -> tf.Tensor:
    """The weights as a tensor of the shape and dtype of `values`."""
    from ..tally import align_weights

    return align_weights(tf.cast(weights, values.dtype), values)


@gin.register(module="tallyloop")
def per_class(names: Sequence[str] | None = None) -> Finisher:
    """A finisher: one mean an index of the values' last axis, `PATH/class_0`, ...; a class without examples has none.

    Args:
      names: what to write instead of `class_0`, ..., in this order.

    Raises:
      UsageError: there are not as many names as classes.
    """

    def finish(value, count):
        titles = class_names(names, len(value))
        count = np.broadcast_to(count, value.shape)
        return {titles[i]: float(value[i] / count[i]) for i in np.flatnonzero(count)}

    return Finisher("per_class", ("per_class", names and tuple(names)), finish, _tally_last_axis)


def class_names(names: Sequence[str] | None, classes: int) -> list[str]:
    """The given names, or `class_0`, ..."""
    if names is None:
        return [f"class_{i}" for i in range(classes)]
    if len(names) != classes:
        raise UsageError(
            f"per_class.names has {len(names)} names, and the metric has {classes} classes: {list(names)}."
        )
    return list(names)


def _simple(name: str, finish: Callable, tally: Callable = tally, **kind) -> Finisher:
    return Finisher(name, name, finish, tally, **kind)


FINISHERS = {
    finisher.name: finisher
    for finisher in (
        _simple("mean", _mean),
        _simple("sum", lambda value, count: value),
        _simple("exp", lambda value, count: np.exp(value / count)),
        _simple("sqrt", lambda value, count: np.sqrt(value / count)),
        _simple("std", _std, _tally_moments),
        _simple("max", lambda value, count: value, _tally_largest, combine="max"),
        _simple("min", lambda value, count: -value, _tally_smallest, combine="max"),
        _simple("per_second", lambda value, count: value, per_second=True),
        per_class(),
        _simple("confusion_matrix", lambda value, count: value),
        _simple("auc", lambda value, count: histograms.auc(value)),
        *(
            _simple(f"{score}{average}", confusion.finish(score, average))
            for score in confusion.SCORES
            for average in confusion.AVERAGES
        ),
    )
}


def finisher(finish: str | Callable | Finisher | None) -> Finisher:
    """Returns the finisher that a user names, or wraps the user's own function of `(value, count)`.

    Raises:
      UsageError: no finisher has this name.
    """
    if finish is None:
        return FINISHERS["mean"]
    if isinstance(finish, Finisher):
        return finish
    if callable(finish):
        return Finisher(getattr(finish, "__name__", repr(finish)), getattr(finish, "__code__", finish), finish)
    if finish not in FINISHERS:
        raise UsageError(
            f"finish={finish!r} is unknown: wanted one of {', '.join(sorted(FINISHERS))}, "
            "or a function of (value, count)."
        )
    return FINISHERS[finish]
