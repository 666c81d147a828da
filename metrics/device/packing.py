"""All tallies of a step as one vector, so that one operation accumulates them and one reduces them."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ..errors import UsageError
from ..tally import Tally, larger

# Sums in float64 are exact up to 2^53 examples; float32 stops counting at 2^24.
DTYPE = tf.float64


class Part(NamedTuple):
    """One run of numbers in the vector.

    The fields are in sorting order: maxima come last, and scalars stand together, so that packing takes a few operations for
    all of them. The dtype has no part in it: a sum may be float32 in one step and float64 in the next, depending on its size.
    """

    is_max: bool
    shape: tuple[int, ...]
    path: str
    field: str


class Layout(NamedTuple):
    """The place of each tally in the vector."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(math.prod(part.shape) for part in self.parts)

    @property
    def maxima(self) -> int:
        """The number of elements at the vector's end that are maxima instead of sums."""
        return sum(math.prod(part.shape) for part in self.parts if part.is_max)

    def fingerprint(self) -> int:
        """Return a number that tells layouts apart."""
        return zlib.crc32(repr(self.parts).encode())

    def identity(self) -> tf.Tensor:
        """Return the vector of no examples: 0 for sums, -inf for maxima."""
        sums = tf.zeros([self.size - self.maxima], DTYPE)
        return tf.concat([sums, tf.fill([self.maxima], tf.constant(-np.inf, DTYPE))], 0) if self.maxima else sums

    def combine(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        """Return the vector of the examples of both."""
        if not self.maxima:
            return a + b
        cut = self.size - self.maxima
        return tf.concat([a[:cut] + b[:cut], larger(a[cut:], b[cut:])], 0)

    def combine_rows(self, rows: np.ndarray) -> np.ndarray:
        """Return the vector of the examples of all rows, (n, size) -> (size,)."""
        cut = self.size - self.maxima
        return np.concatenate([rows[:, :cut].sum(0), rows[:, cut:].max(0)])

    def unpack(self, vector: Any) -> dict[str, Tally]:
        """Split a vector (a NumPy array or a tensor) into `{path: Tally}`, sorted by path."""
        fields: dict[tuple[str, str], Any] = {}
        start = 0
        for part in self.parts:
            stop = start + math.prod(part.shape)
            if not isinstance(vector, np.ndarray):
                piece = tf.reshape(vector[start:stop], part.shape)
            else:  # Most parts are scalars, and there are many: slicing and reshaping takes several times as long as indexing.
                piece = vector[start:stop].reshape(part.shape) if part.shape else vector[start]
            fields[part.path, part.field] = piece
            start = stop
        paths = sorted({part.path for part in self.parts})
        return {path: Tally(fields[path, "value"], fields[path, "count"]) for path in paths}


def layout_of(tallies: Mapping[str, Tally], maxima: Collection[str] = ()) -> Layout:
    """Return the layout of tallies; it depends only on their paths and shapes.

    Args:
      tallies: path -> tally.
      maxima: the paths whose value is a maximum.

    Raises:
      UsageError: the shape of a tally is not known when the step is traced.
    """
    parts = []
    for path, contribution in tallies.items():
        for field, tensor in contribution._asdict().items():
            if not tensor.shape.is_fully_defined():
                raise UsageError(
                    f"Metric {path!r}: expected a {field} of a fixed shape, got {tensor.shape}. Sum over the batch first."
                )
            is_max = field == "value" and path in maxima
            parts.append(Part(is_max, tuple(tensor.shape), path, field))
    return Layout(tuple(sorted(parts)))


def pack(tallies: Mapping[str, Tally], layout: Layout) -> tf.Tensor:
    """Return the tallies as one float64 vector.

    All scalars, which most metrics are, take a few operations together.
    """
    scalars, places = _scalars(tallies, layout)
    pieces = []
    for are_scalars, run in itertools.groupby(layout.parts, key=lambda part: part.shape == ()):
        if are_scalars:
            assert scalars is not None, "the tallies are not those of the layout"
            pieces.append(_gather(scalars, [places[part.path, part.field] for part in run]))
        else:
            pieces += [tf.cast(tf.reshape(getattr(tallies[part.path], part.field), [-1]), DTYPE) for part in run]
    return tf.concat(pieces, 0) if pieces else tf.zeros([0], DTYPE)


def _scalars(tallies: Mapping[str, Tally], layout: Layout) -> tuple[tf.Tensor | None, dict[tuple[str, str], int]]:
    """Return all scalars as one float64 vector, and the index of each (path, field) in it.

    The scalars of a group of `GroupedTallies` are one vector already, and go in whole.
    """
    vectors: dict[str, list[tf.Tensor]] = {}  # dtype -> vectors
    keys: dict[str, list[tuple[str, str]]] = {}  # dtype -> (path, field) of each element of these vectors
    for group in getattr(tallies, "groups", ()):
        for field, sums in group.sums._asdict().items():
            vectors.setdefault(sums.dtype.name, []).append(sums)
            keys.setdefault(sums.dtype.name, []).extend((path, field) for path in group.paths)
    grouped = {key for each in keys.values() for key in each}
    single: dict[str, list[tuple[str, str]]] = {}  # dtype -> (path, field) of the others
    for part in layout.parts:
        if part.shape == () and (part.path, part.field) not in grouped:
            single.setdefault(getattr(tallies[part.path], part.field).dtype.name, []).append((part.path, part.field))
    for dtype, names in single.items():
        vectors.setdefault(dtype, []).append(tf.stack([getattr(tallies[path], field) for path, field in names]))
        keys.setdefault(dtype, []).extend(names)
    if not keys:
        return None, {}
    whole = tf.concat([tf.cast(tf.concat(each, 0), DTYPE) for each in vectors.values()], 0)
    return whole, {key: i for i, key in enumerate(key for each in keys.values() for key in each)}


def _gather(vector: tf.Tensor, places: list[int]) -> tf.Tensor:
    return vector if places == list(range(vector.shape.num_elements())) else tf.gather(vector, places)
