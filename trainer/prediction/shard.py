"""A shard: the predictions of some batches, in the order of the examples."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import tensorflow as tf


class Shard(Protocol):
    """The predictions of one worker for some batches that follow each other."""

    @property
    def rows(self) -> Sequence[int]:
        """The number of examples that it had of each batch."""
        ...

    def column(self, number: int) -> np.ndarray:
        """Return an output, of all these examples."""
        ...


@dataclasses.dataclass(frozen=True)
class MadeShard:
    """A shard in memory.

    Attributes:
      rows: how many examples this worker had of each batch.
      columns: the outputs, flat.
    """

    rows: Sequence[int]
    columns: Sequence[np.ndarray]

    @classmethod
    def of(cls, batches: Sequence[Sequence[np.ndarray]]) -> MadeShard:
        """Join the predictions of batches: for each batch its outputs, flat."""
        return cls([len(batch[0]) for batch in batches], [np.concatenate(each) for each in zip(*batches, strict=True)])

    def column(self, number: int) -> np.ndarray:
        """Return an output, of all examples."""
        return self.columns[number]

    def dump(self) -> list[bytes]:
        """Return the content of a file, in parts: a line of JSON, and a `tf.io.serialize_tensor` for each output."""
        tensors = [tf.convert_to_tensor(column) for column in self.columns]
        parts = [tf.io.serialize_tensor(tensor).numpy() for tensor in tensors]
        header = {"rows": list(self.rows), "dtypes": [t.dtype.name for t in tensors], "sizes": [len(p) for p in parts]}
        return [json.dumps(header).encode() + b"\n", *parts]


class StoredShard:
    """A shard in a file, or in its content; an output is read when it is asked for.

    Args:
      source: the path, or the content.
    """

    def __init__(self, source: Path | bytes):
        self._source = source
        with self._open() as file:
            line = file.readline()
        header = json.loads(line)
        self.rows: Sequence[int] = header["rows"]
        self._dtypes, self._sizes = header["dtypes"], header["sizes"]
        self._start = len(line)

    def column(self, number: int) -> np.ndarray:
        """Return an output, of all examples."""
        with self._open() as file:
            file.seek(self._start + sum(self._sizes[:number]))
            return tf.io.parse_tensor(file.read(self._sizes[number]), self._dtypes[number]).numpy()

    def _open(self) -> BinaryIO:
        return self._source.open("rb") if isinstance(self._source, Path) else io.BytesIO(self._source)


def in_order(workers: Sequence[Sequence[Shard]], number: int, local: bool) -> Iterator[np.ndarray]:
    """Yield an output of all workers' shards, in the order of the examples.

    Args:
      workers: for each worker its shards, which follow each other.
      number: that of the output.
      local: the examples of one worker follow those of another; else each worker has a part of every batch.
    """
    if local or len(workers) == 1:
        for shards in workers:
            for shard in shards:
                yield shard.column(number)
        return
    for parts in zip(*(_batches(shards, number) for shards in workers), strict=True):
        yield np.concatenate(parts)


def _batches(shards: Sequence[Shard], number: int) -> Iterator[np.ndarray]:
    for shard in shards:
        yield from np.split(shard.column(number), np.cumsum(shard.rows)[:-1])
