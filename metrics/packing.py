"""All tallies of a step as one vector, so that they are accumulated and reduced by one operation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from .errors import UsageError
from .tally import Tally

# Sums of float64 are exact up to 2^53 examples; float32 stops counting at 2^24.
DTYPE = tf.float64


class Part(NamedTuple):
    """One run of numbers in the vector. They are sorted by dtype: one cast a dtype, not two a metric."""

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

    def unpack(self, vector) -> dict[str, Tally]:
        """Cuts a vector (a NumPy array or a tensor) into `{path: Tally}`, sorted by path."""
        fields: dict[tuple[str, str], object] = {}
        start = 0
        for part in self.parts:
            stop = start + math.prod(part.shape)
            reshape = vector[start:stop].reshape if hasattr(vector, "reshape") else None
            piece = reshape(part.shape) if reshape else tf.reshape(vector[start:stop], part.shape)
            fields[part.path, part.field] = piece
            start = stop
        paths = sorted({part.path for part in self.parts})
        return {path: Tally(fields[path, "value"], fields[path, "count"]) for path in paths}


def layout_of(tallies: Mapping[str, Tally]) -> Layout:
    """Returns the layout of tallies; it depends on nothing but their paths, dtypes and shapes.

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
            parts.append(Part(tensor.dtype.name, path, field, tuple(tensor.shape)))
    return Layout(tuple(sorted(parts)))


def pack(tallies: Mapping[str, Tally]) -> tf.Tensor:
    """Returns the tallies as one float64 vector, in the order of `layout_of`."""
    pieces = []
    for _, parts in itertools.groupby(layout_of(tallies).parts, key=lambda part: part.dtype):
        run = [tf.reshape(getattr(tallies[part.path], part.field), [-1]) for part in parts]
        pieces.append(tf.cast(tf.concat(run, 0), DTYPE))
    return tf.concat(pieces, 0) if pieces else tf.zeros([0], DTYPE)
