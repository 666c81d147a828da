"""Finishers: what is written of a reduced tally."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from .errors import UsageError
from .tally import Tally, tally

Finished = float | np.ndarray | Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Finisher:
    """Turns a reduced tally into what is written.

    Attributes:
      name: what a user writes as `finish=`.
      finish: `(value, count) -> float`, an array, or a dict of path suffix -> float; both arguments are float64
        NumPy, and `count` is nowhere 0 unless it has the shape of `value`.
      tally: how `metrics.add` sums the values of a step for it.
    """

    name: str
    finish: Callable[[np.ndarray, np.ndarray], Finished]
    tally: Callable[[tf.Tensor, tf.Tensor | None], Tally] = tally


def _mean(value, count):
    return value / count


def _std(value, count):
    """Population standard deviation from the sums of x and x^2: sqrt(E[x^2] - E[x]^2)."""
    mean, mean_square = value / count
    return np.sqrt(np.maximum(mean_square - mean**2, 0.0))


def _tally_moments(values, weights):
    """Sums of x and x^2, in float64: their difference cancels."""
    values = tf.cast(values, tf.float64)
    first, second = tally(values, weights), tally(values**2, weights)
    return Tally(tf.stack([first.value, second.value]), first.count)


def _per_class(value, count):
    """One mean a class; a class without examples has none."""
    count = np.broadcast_to(count, value.shape)
    return {f"class_{i}": float(value[i] / count[i]) for i in np.flatnonzero(count)}


def _tally_last_axis(values, weights):
    return tally(values, weights, keep_last_axis=True)


FINISHERS = {
    finisher.name: finisher
    for finisher in (
        Finisher("mean", _mean),
        Finisher("sum", lambda value, count: value),
        Finisher("exp", lambda value, count: np.exp(value / count)),
        Finisher("sqrt", lambda value, count: np.sqrt(value / count)),
        Finisher("std", _std, _tally_moments),
        Finisher("per_class", _per_class, _tally_last_axis),
    )
}


def finisher(finish: str | Callable | None) -> Finisher:
    """Returns the finisher that a user names, or wraps the user's own function of `(value, count)`.

    Raises:
      UsageError: no finisher has this name.
    """
    if finish is None:
        return FINISHERS["mean"]
    if callable(finish):
        return Finisher(getattr(finish, "__name__", repr(finish)), finish)
    if finish not in FINISHERS:
        raise UsageError(
            f"finish={finish!r} is unknown: wanted one of {', '.join(sorted(FINISHERS))}, "
            "or a function of (value, count)."
        )
    return FINISHERS[finish]
