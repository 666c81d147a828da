"""Summing the values of many metrics by a few operations: one costs more than the few numbers that it adds up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from .tally import Tally, align_weights, summable, tally

_MOST_ELEMENTS = 2**12  # of a metric: to put more beside each other takes as long as to add them up


class Addend(NamedTuple):
    """What `tally` is given for a metric."""

    values: tf.Tensor
    weights: tf.Tensor | None


def sum_together(addends: Mapping[str, Addend]) -> dict[str, Tally]:
    """Path -> its tally, as of `tally`, for those that have others of their shape and type."""
    groups: dict[tuple, list[str]] = {}
    for path, addend in addends.items():
        if (addend.values.shape.num_elements() or _MOST_ELEMENTS + 1) <= _MOST_ELEMENTS:
            groups.setdefault(_kind(addend), []).append(path)
    return {
        path: each
        for paths in groups.values()
        if len(paths) > 1
        for path, each in zip(paths, _tallies([addends[path] for path in paths]), strict=True)
    }


def _kind(addend: Addend) -> tuple:
    weights = None if addend.weights is None else summable(addend.weights).dtype
    return summable(addend.values).dtype, tuple(addend.values.shape), weights


def _tallies(addends: list[Addend]) -> list[Tally]:
    values = [summable(addend.values) for addend in addends]
    weights = None
    if addends[0].weights is not None:
        weights = tf.stack([align_weights(summable(a.weights), v) for a, v in zip(addends, values, strict=True)])
    sums = tally(tf.stack(values), weights, keep_axis=0)
    return [Tally(*pair) for pair in zip(*(tf.unstack(part, len(addends)) for part in sums), strict=True)]
