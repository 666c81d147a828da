"""The finishers that have a name."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally, align_weights, tally
from .confusion import AVERAGES, SCORES, score_finisher
from .finisher import Finish, Finisher, FinishFn
from .histograms import auc
from .moments import std, tally_moments


def finisher(finish: Finish) -> Finisher:
    """Return the finisher that a user names, or wrap the user's own function of `(value, count)`.

    Raises:
      UsageError: no finisher has this name.
    """
    if finish is None:
        return FINISHERS["mean"]
    if isinstance(finish, Finisher):
        return finish
    if callable(finish):
        return Finisher(_name(finish), _key(finish), finish)
    if finish not in FINISHERS:
        raise UsageError(
            f"finish = {finish!r}: expected one of {', '.join(sorted(FINISHERS))}, or a function of (value, count)."
        )
    return FINISHERS[finish]


def _name(finish: FinishFn) -> str:
    if isinstance(finish, functools.partial):
        return f"partial of {_name(finish.func)}"
    return getattr(finish, "__name__", type(finish).__name__)


def _key(finish: FinishFn) -> Any:
    """Return what is the same for a function, or a partial of it, that is made anew in each trace of a line."""
    if isinstance(finish, functools.partial):
        return _key(finish.func), _comparable(finish.args), _comparable(finish.keywords)
    if hasattr(finish, "__code__"):
        cells = [cell.cell_contents for cell in finish.__closure__ or ()]
        return finish.__code__, _comparable(cells), _comparable(finish.__defaults__)
    return type(finish), _comparable(getattr(finish, "__dict__", finish))


def _comparable(value: Any) -> Any:
    """Return something hashable that is equal for equal values, made anew or not."""
    if isinstance(value, Mapping):
        return tuple((key, _comparable(each)) for key, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return value if isinstance(value, Hashable) else repr(value)


@gin.register(module="tallyloop")
def per_class(names: Sequence[str] | None = None) -> Finisher:
    """Return a finisher that writes one mean per index of the values' last axis: `PATH/class_0`, `PATH/class_1`, ...

    A class without examples gets no point.

    Args:
      names: what to write instead of `class_0`, `class_1`, ..., in this order.

    Raises:
      UsageError: (when finished) the numbers of names and of classes differ.
    """

    def finish(value: np.ndarray, count: np.ndarray) -> Mapping[str, float]:
        titles = _class_names(names, len(value))
        count = np.broadcast_to(count, value.shape)
        return {titles[i]: float(value[i] / count[i]) for i in np.flatnonzero(count)}

    return Finisher("per_class", ("per_class", names and tuple(names)), finish, _tally_last_axis)


def _class_names(names: Sequence[str] | None, classes: int) -> list[str]:
    if names is None:
        return [f"class_{i}" for i in range(classes)]
    if len(names) != classes:
        raise UsageError(
            f"per_class.names = {list(names)}: expected one name for each of the metric's {classes} classes, got {len(names)}."
        )
    return list(names)


def _tally_last_axis(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
    return tally(values, weights, keep_axis=-1)


def _tally_largest(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
    """Return the largest value that counts; -inf if none does, NaN if one is NaN, which XLA's `reduce_max` leaves out."""
    counted = tally(values, weights)
    values = tf.cast(values, tf.float64)
    if weights is not None:
        weights = align_weights(tf.cast(weights, tf.float64), values)
        values = tf.where(weights != 0, values, tf.constant(-np.inf, tf.float64))
    largest = tf.where(tf.reduce_any(tf.math.is_nan(values)), tf.constant(np.nan, tf.float64), tf.reduce_max(values))
    return Tally(largest, counted.count)


def _tally_smallest(values: tf.Tensor, weights: tf.Tensor | None) -> Tally:
    """Return the smallest value, negated: the largest of the negated values."""
    return _tally_largest(-tf.cast(values, tf.float64), weights)


def _named(name: str, finish: FinishFn, tally: Any = tally, **kind: Any) -> Finisher:
    return Finisher(name, name, finish, tally, **kind)


FINISHERS: Mapping[str, Finisher] = {
    each.name: each
    for each in (
        _named("mean", lambda value, count: value / count),
        _named("sum", lambda value, count: value),
        _named("exp", lambda value, count: np.exp(value / count)),
        _named("sqrt", lambda value, count: np.sqrt(value / count)),
        _named("std", std, tally_moments),
        _named("max", lambda value, count: value, _tally_largest, combine="max"),
        _named("min", lambda value, count: -value, _tally_smallest, combine="max"),
        _named("per_second", lambda value, count: value, per_second=True),
        per_class(),
        _named("confusion_matrix", lambda value, count: value),
        _named("auc", lambda value, count: auc(value)),
        *(_named(f"{score}{average}", score_finisher(score, average)) for score in SCORES for average in AVERAGES),
    )
}
