"""Summing the values of many metrics with a few operations: an operation costs more than the few numbers it adds up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from ..tally import PLAIN_ELEMENTS, Tally, check_weights, summed_dtype, tally


class Unsummed(NamedTuple):
    """The values and weights whose plain weighted sum is a metric's tally; see `tally`."""

    values: tf.Tensor
    weights: tf.Tensor | None


class Group(NamedTuple):
    """The scalar tallies of several metrics: one vector of their values and one of their counts.

    Attributes:
      paths: the metrics.
      sums: both vectors, in the order of `paths`.
    """

    paths: tuple[str, ...]
    sums: Tally


class GroupedTallies(dict[str, Tally]):
    """Path -> tally. The tallies of `groups` are slices of vectors, so that packing need not stack them again.

    `tf.nest` makes other tensors of it, and so drops the groups.
    """

    groups: tuple[Group, ...] = ()


def unsummed(values: tf.Tensor, weights: tf.Tensor | None) -> Unsummed:
    """Return values and weights as tensors, to be summed by `grouped_sums`.

    Raises:
      UsageError: they cannot be summed. The error comes here, at the line that adds the metric.
    """
    values = tf.convert_to_tensor(values)
    summed_dtype(values.dtype)
    if weights is not None:
        weights = tf.convert_to_tensor(weights)
        summed_dtype(weights.dtype)
        check_weights(weights.shape, values.shape)
    return Unsummed(values, weights)


def to_tally(contribution: Tally | Unsummed) -> Tally:
    """Return the tally of a contribution, summed on its own."""
    return tally(*contribution) if isinstance(contribution, Unsummed) else contribution


def grouped_sums(contributions: Mapping[str, Tally | Unsummed]) -> GroupedTallies:
    """Return the tally of each contribution; one operation sums all that agree in shapes and dtypes."""
    by_kind: dict[tuple[Any, ...], dict[str, Unsummed]] = {}
    for path, each in contributions.items():
        if isinstance(each, Unsummed) and _is_small(each):
            by_kind.setdefault(_kind(each), {})[path] = each
    groups = [_sum_group(alike) for alike in by_kind.values() if len(alike) > 1]
    grouped = {path: each for group in groups for path, each in _split(group)}
    tallies = GroupedTallies({path: grouped.get(path) or to_tally(each) for path, each in contributions.items()})
    tallies.groups = tuple(groups)
    return tallies


def _is_small(each: Unsummed) -> bool:
    """True if one kernel sums it accurately, and stacking it does not take as long as summing it."""
    shapes = [part.shape for part in each if part is not None]
    return all(shape.is_fully_defined() for shape in shapes) and shapes[0].num_elements() <= PLAIN_ELEMENTS


def _kind(each: Unsummed) -> tuple[Any, ...]:
    return tuple((part.dtype, tuple(part.shape)) for part in each if part is not None)


def _sum_group(alike: Mapping[str, Unsummed]) -> Group:
    """Return the tallies of contributions of one kind: all have weights, or none."""
    values = tf.stack([each.values for each in alike.values()])
    weights = [each.weights for each in alike.values() if each.weights is not None]
    return Group(tuple(alike), tally(values, tf.stack(weights) if weights else None, keep_axis=0))


def _split(group: Group) -> Iterable[tuple[str, Tally]]:
    parts = (tf.unstack(part, len(group.paths)) for part in group.sums)
    return zip(group.paths, map(Tally, *parts), strict=True)
