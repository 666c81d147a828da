"""`Mixture`: several sources as one, by weight."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ...checks import seed_number
from ...rows.rows import Rows, map_nest, rows_of
from .shuffled import shuffled
from .turns import Turns, shares_of

# Rows are drawn by whole chunks where the next ones will be asked for soon: for few, NumPy's calls take longer than the drawing.
_CHUNK = 2**13
_RUN = 128  # rows, at least, that are taken from chunks
_SPARSE = 8  # at most, the first to the last row for each that is asked for: a worker asks for its part of each batch
_CHUNKS_KEPT = 4  # more than the threads that usually read


@gin.register(module="tallyloop")
class Mixture:
    """Rows of several sources, in the proportion of their weights.

    Which source a row is of, and which of its rows, is a function of the row's number. Of the first n rows, each source has
    n times its weight, to less than one row. Each source is read whole, in a random order of its own, before it is read again
    in another.

    An epoch (`len`) ends where each source has been read whole at least once. The next one goes on from there: numbers beyond
    the length are rows too. `Input.shuffle` and `Input.seed` change nothing in this order.

    Where sequences differ in length, give the mixture to `packed` or `bucketed`, which read its rows one by one.

    Args:
      sources: source -> weight, or a list of sources with `weights` beside it. A source is a function, arrays, or rows by
        number; all have the same keys (or are tuples of one length), dtypes and shapes, but for the first axis.
      weights: one positive number for each source of a list; they need not add up to 1.
      seed: the seed of the orders, in [0, 2**32).

    Attributes:
      fingerprint: what must be the same on a rerun: lengths, weights, seed, and the fingerprints of the sources that have one.
      covers_content: whether all of them have one.

    Raises:
      UsageError: an argument is not as described, or the sources don't fit together.
    """

    def __init__(
        self, sources: Mapping[Any, float] | Sequence[Any], weights: Sequence[float] | None = None, seed: int = 0
    ):
        given, shares = _weighted(sources, weights)
        self._seed = seed_number("Mixture.seed", seed)
        self._sources = [rows_of(source, f"Mixture.sources, source {k}") for k, source in enumerate(given)]
        self._lengths = [source.length for source in self._sources]
        _check_same(self._sources)
        self._turns = Turns(shares)
        self._chunks: tuple[
            tuple[int, np.ndarray, np.ndarray], ...
        ] = ()  # replaced as a whole, as several threads read
        self._length = max(self._turns.end_of(k, length) for k, length in enumerate(self._lengths))
        self.covers_content: bool = all(source.covers_content for source in self._sources)
        parts = [source.fingerprint or None for source in self._sources]
        told = repr((parts, self._lengths, shares, self._seed)).encode()
        self.fingerprint: str = (
            f"a mixture of {self._lengths} rows as {shares} ({hashlib.sha256(told).hexdigest()[:16]})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_chunks": ()}  # other processes draw other rows

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, rows: np.ndarray) -> Any:
        """Return the examples of these rows, which may be beyond the epoch: a dict or tuple of arrays (k, ...)."""
        rows = np.asarray(rows, np.int64)
        if rows.size and rows.min() < 0:
            raise IndexError(f"row {rows.min()}: expected rows from 0")
        owners, drawn = self._drawn(rows)
        places = [np.flatnonzero(owners == source) for source in range(len(self._sources))]
        asked = [source for source, place in enumerate(places) if len(place)] or [0]
        parts = [self._sources[source].gather(drawn[places[source]]) for source in asked]
        return map_nest(partial(_in_order, [places[source] for source in asked]), *parts)

    def __getitem__(self, row: int) -> Any:
        """Return the example of a row of the first epoch, as its source gives it."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}: expected rows from 0 to {len(self) - 1}")
        return self.unstacked(np.array([row]))[0]

    def unstacked(self, rows: np.ndarray) -> list[Any]:
        """Return the examples of these rows as their sources give them: their arrays may differ in length."""
        owners, drawn = self._drawn(rows)
        found: list[Any] = [None] * len(rows)
        for source in np.unique(owners).tolist():
            places = np.flatnonzero(owners == source)
            examples = self._sources[source].each(drawn[places])
            for place, example in zip(places.tolist(), examples, strict=True):
                found[place] = example
        return found

    def arranged(
        self, positions: np.ndarray, epochs: np.ndarray, *, batch_size: int, seed: int, shuffle: bool
    ) -> np.ndarray:
        """Return the rows at some positions of some epochs: the mixture goes on, in its own order, from epoch to epoch."""
        return positions + epochs * len(self)

    def named(self, row: int) -> str:
        """Return what an error calls a row."""
        owners, drawn = self._draw(np.array([row]))
        source = int(owners[0])
        return f"{self._sources[source].name(int(drawn[0]))} of source {source} of the mixture (counted from 0)"

    def _drawn(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (the source of each row, which of the source's rows it is)."""
        if len(rows) < _RUN or np.ptp(rows) >= _SPARSE * len(rows):
            return self._draw(rows)
        first, last = int(rows.min()) // _CHUNK, int(rows.max()) // _CHUNK
        owners, drawn = map(np.concatenate, zip(*map(self._chunk, range(first, last + 1)), strict=True))
        places = rows - first * _CHUNK
        return owners[places], drawn[places]

    def _chunk(self, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        for number, owners, drawn in self._chunks:
            if number == chunk:
                return owners, drawn
        owners, drawn = self._draw(np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK))
        self._chunks = (*self._chunks[1 - _CHUNKS_KEPT :], (chunk, owners, drawn))
        return owners, drawn

    def _draw(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        owners, counts = self._turns.at(rows)
        drawn = np.empty(len(rows), np.int64)
        for source in np.unique(owners).tolist():
            places = np.flatnonzero(owners == source)
            drawn[places] = self._rows(source, counts[places])
        return owners, drawn

    def _rows(self, source: int, counts: np.ndarray) -> np.ndarray:
        """Return the rows of a source in its turns, the first of which is number 0."""
        size = self._lengths[source]
        epochs = counts // size  # NumPy has no such quick remainder
        # Two sources of one size are not in the same order.
        return shuffled(counts - epochs * size, epochs, size, (self._seed + source * 0x9E3779B1) % 2**32)


def _in_order(places: list[np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Return the rows of some arrays as one, each at its place.

    Raises:
      ValueError: they differ in shape.
    """
    if len({array.shape[1:] for array in arrays}) > 1:
        raise ValueError(f"expected examples of one shape, got {sorted({array.shape[1:] for array in arrays})}")
    found = np.empty((sum(map(len, places)), *arrays[0].shape[1:]), np.result_type(*arrays))
    for place, array in zip(places, arrays, strict=True):
        found[place] = array
    return found


def _weighted(sources: Any, weights: Any) -> tuple[list[Any], list[int]]:
    if isinstance(sources, Mapping):
        if weights is not None:
            raise UsageError(
                f"Mixture.weights = {weights!r}: expected none beside the weights in Mixture.sources; unbind it"
            )
        sources, weights = list(sources), list(sources.values())
    is_list = isinstance(sources, Sequence) and not isinstance(sources, str) and len(sources) > 0
    if not is_list or not isinstance(weights, Sequence) or len(weights) != len(sources):
        raise UsageError(
            f"Mixture.sources = {sources!r}, Mixture.weights = {weights!r}: expected {{source: weight}}, or a list of sources "
            "and a list of as many weights"
        )
    return list(sources), shares_of("Mixture.sources", weights)


def _check_same(sources: list[Rows]) -> None:
    for number, source in enumerate(sources):
        if len(source.probes) > 1:
            raise UsageError(
                f"Mixture.sources, source {number}: expected examples of one shape, got those of `bucketed`, which draws its own "
                "batches; give the mixture to it, as bucketed(Mixture(...), ...)"
            )
    kinds = [map_nest(_kind, source.examples(np.zeros(1, np.int64))) for source in sources]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise UsageError(
                f"Mixture.sources: source {number} (counted from 0) has {kind}: expected the keys, dtypes and shapes of source "
                f"0, {kinds[0]}; name and convert them alike"
            )


def _kind(array: np.ndarray) -> str:
    """Return the dtype and shape of an example; its first axis may be the length of a sequence."""
    sizes = array.shape[1:]
    shape = f"({', '.join(['any', *map(str, sizes[1:])])})" if sizes else "()"
    return f"{'string' if array.dtype.kind in 'SUO' else array.dtype} {shape}"
