"""All tallies of a step as one vector, so that they are accumulated and reduced by one operation."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally

# Sums of float64 are exact up to 2^53 examples; float32 stops counting at 2^24.
DTYPE = tf.float64


class Part(NamedTuple):
    """One run of numbers in the vector. Sorted: maxima last, and by dtype: one cast a dtype, not two a metric."""

    is_max: bool
    dtype: str
    path: str
    field: str
    shape: tuple[int, ...]


class Layout(NamedTuple):
    """Where each tally stands in the vector."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(math.prod(part.shape) for part in self.parts)

    @property
    def maxima(self) -> int:
        """How many numbers at the vector's end are maxima and not sums."""
        return sum(math.prod(part.shape) for part in self.parts if part.is_max)

    def fingerprint(self) -> int:
        """A number that tells layouts apart."""
        return zlib.crc32(repr(self.parts).encode())

    def identity(self) -> tf.Tensor:
        """The vector of no examples: 0 for sums, -inf for maxima."""
        sums = tf.zeros([self.size - self.maxima], DTYPE)
        return tf.concat([sums, tf.fill([self.maxima], tf.constant(-np.inf, DTYPE))], 0) if self.maxima else sums

    def combine(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """The vector of the examples of both."""
        if not self.maxima:
            return a + b
        cut = self.size - self.maxima
        return tf.concat([a[:cut] + b[:cut], tf.maximum(a[cut:], b[cut:])], 0)

    def join(self, rows: np.ndarray) -> np.ndarray:
        """One vector of several, (n, size)."""
        cut = self.size - self.maxima
        return np.concatenate([rows[:, :cut].sum(0), rows[:, cut:].max(0)])

    def to_sum(self, vector: tf.Tensor, replica: tf.Tensor, replicas: int) -> tf.Tensor:
        """The vector as one that replicas can add up: each writes its maxima into a place of its own."""
        if not self.maxima:
            return vector
        cut = self.size - self.maxima
        mine = tf.range(replicas)[:, tf.newaxis] == tf.cast(replica, tf.int32)
        places = tf.where(mine, vector[tf.newaxis, cut:], tf.zeros([], DTYPE))
        return tf.concat([vector[:cut], tf.reshape(places, [-1])], 0)

    def from_sum(self, total: tf.Tensor, replicas: int) -> tf.Tensor:
        """The vector of all replicas, from the sum of what `to_sum` gave."""
        if not self.maxima:
            return total
        cut = self.size - self.maxima
        return tf.concat([total[:cut], tf.reduce_max(tf.reshape(total[cut:], [replicas, -1]), 0)], 0)

    def unpack(self, vector) -> dict[str, Tally]:
        """Cuts a vector (a NumPy array or a tensor) into `{path: Tally}`, sorted by path."""
        fields: dict[tuple[str, str], object] = {}
        start = 0
        for part in self.parts:
            stop = start + math.prod(part.shape)
            if not isinstance(vector, np.ndarray):
                piece = tf.reshape(vector[start:stop], part.shape)
            else:  # nearly all are scalars, and many: to slice and reshape takes several times as long as to look up
                piece = vector[start:stop].reshape(part.shape) if part.shape else vector[start]
            fields[part.path, part.field] = piece
            start = stop
        paths = sorted({part.path for part in self.parts})
        return {path: Tally(fields[path, "value"], fields[path, "count"]) for path in paths}


def layout_of(tallies: Mapping[str, Tally], maxima: Collection[str] = ()) -> Layout:
    """Returns the layout of tallies; it depends on nothing but their paths, dtypes and shapes.

    Args:
      tallies: path -> tally.
      maxima: the paths whose value is a maximum.

    Raises:
      UsageError: a tally's shape is not known when the step is traced.
    """
    parts = []
    for path, contribution in tallies.items():
        for field, tensor in contribution._asdict().items():
            if not tensor.shape.is_fully_defined():
                raise UsageError(
                    f"Metric {path!r} has a {field} of unknown shape {tensor.shape}: a tally's sums have a fixed "
                    "shape, so sum over the batch first."
                )
            is_max = field == "value" and path in maxima
            parts.append(Part(is_max, tensor.dtype.name, path, field, tuple(tensor.shape)))
    return Layout(tuple(sorted(parts)))


def pack(tallies: Mapping[str, Tally], layout: Layout) -> tf.Tensor:
    """Returns the tallies as one float64 vector. Scalars, which nearly all are, take a few operations, however many."""
    scalars, places = _scalars(tallies, layout)
    pieces = []
    for kind, run in itertools.groupby(layout.parts, key=lambda part: part.dtype if part.shape else "scalars"):
        if kind == "scalars":
            pieces.append(_picked(scalars, [places[part.path, part.field] for part in run]))
        else:
            flat = [tf.reshape(getattr(tallies[part.path], part.field), [-1]) for part in run]
            pieces.append(tf.cast(tf.concat(flat, 0), DTYPE))
    return tf.concat(pieces, 0) if pieces else tf.zeros([0], DTYPE)


def _scalars(tallies: Mapping[str, Tally], layout: Layout) -> tuple[tf.Tensor | None, dict[tuple[str, str], int]]:
    """All scalars as one float64 vector, and where in it each (path, field) is; those of a group stay together."""
    vectors: dict[str, list[tf.Tensor]] = {}
    keys: dict[str, list[tuple[str, str]]] = {}
    for group in getattr(tallies, "groups", ()):
        for field, sums in group.sums._asdict().items():
            vectors.setdefault(sums.dtype.name, []).append(sums)
            keys.setdefault(sums.dtype.name, []).extend((path, field) for path in group.paths)
    grouped = {key for each in keys.values() for key in each}
    alone = (part for part in layout.parts if part.shape == () and (part.path, part.field) not in grouped)
    for dtype, run in itertools.groupby(alone, key=lambda part: part.dtype):
        names = [(part.path, part.field) for part in run]
        vectors.setdefault(dtype, []).append(tf.stack([getattr(tallies[path], field) for path, field in names]))
        keys.setdefault(dtype, []).extend(names)
    if not keys:
        return None, {}
    whole = tf.concat([tf.cast(tf.concat(each, 0), DTYPE) for each in vectors.values()], 0)
    return whole, {key: i for i, key in enumerate(key for each in keys.values() for key in each)}


def _picked(vector: tf.Tensor, places: list[int]) -> tf.Tensor:
    return vector if places == list(range(vector.shape[0])) else tf.gather(vector, places)
