"""Summing the values of many metrics by a few operations: one costs more than the few numbers that it adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import tensorflow as tf

from ..tally import Tally, check_weights, summed_dtype, tally

_MOST_ELEMENTS = 2**12  # of a metric: to put more beside each other takes as long as to add them up


class Addend(NamedTuple):
    """What a tally is the plain sum of, not summed yet."""

    values: tf.Tensor
    weights: tf.Tensor | None


class Group(NamedTuple):
    """The tallies of some metrics, which are scalars: one vector of their values, and one of their counts."""

    paths: tuple[str, ...]
    sums: Tally


class Tallies(dict[str, Tally]):
    """Path -> tally. Those of `groups` are cut out of vectors, which whoever packs them need not put together again.

    What `tf.nest` makes of it is without groups, as the tensors are others.
    """

    groups: tuple[Group, ...] = ()


def addend(values: tf.Tensor, weights: tf.Tensor | None) -> Addend:
    """To be summed later.

    Raises:
      UsageError: it cannot be summed.
    """
    values = tf.convert_to_tensor(values)
    summed_dtype(values.dtype)
    if weights is not None:
        weights = tf.convert_to_tensor(weights)
        summed_dtype(weights.dtype)
        check_weights(weights.shape, values.shape)
    return Addend(values, weights)


def summed(contribution: Tally | Addend) -> Tally:
    """Its tally, by itself."""
    return tally(*contribution) if isinstance(contribution, Addend) else contribution


def sum_together(contributions: Mapping[str, Tally | Addend]) -> Tallies:
    """The tally of each; addends that have others of their shapes and types are summed by one operation."""
    kinds: dict[tuple, list[str]] = {}
    for path, each in contributions.items():
        if isinstance(each, Addend) and _is_small(each):
            kinds.setdefault(_kind(each), []).append(path)
    groups = [_group(paths, contributions) for paths in kinds.values() if len(paths) > 1]
    cut = {path: each for group in groups for path, each in _cut(group)}
    tallies = Tallies({path: cut.get(path) or summed(each) for path, each in contributions.items()})
    tallies.groups = tuple(groups)
    return tallies


def _is_small(each: Addend) -> bool:
    shapes = [part.shape for part in each if part is not None]
    return all(shape.is_fully_defined() for shape in shapes) and shapes[0].num_elements() <= _MOST_ELEMENTS


def _kind(each: Addend) -> tuple:
    return tuple((part.dtype, tuple(part.shape)) for part in each if part is not None)


def _group(paths: list[str], addends: Mapping[str, Addend]) -> Group:
    values = tf.stack([addends[path].values for path in paths])
    weights = None
    if addends[paths[0]].weights is not None:
        weights = tf.stack([addends[path].weights for path in paths])
    return Group(tuple(paths), tally(values, weights, keep_axis=0))


def _cut(group: Group) -> Iterable[tuple[str, Tally]]:
    parts = (tf.unstack(part, len(group.paths)) for part in group.sums)
    return zip(group.paths, map(Tally, *parts), strict=True)
