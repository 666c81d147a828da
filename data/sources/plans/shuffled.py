"""A stateless permutation of rows for each epoch, in NumPy: for readers outside the graph, and any epochs at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

# After eight rounds on the smallest grids, neighbors stay neighbors 1.3% more often than by chance; after ten, no more often.
_ROUNDS = 10
# Up to this size, where rounds on so few cells prefer some orders, the rows are sorted by random numbers instead.
_TINY = 32
_LONGEST_TABLE = 2**12  # cells of a side, of 16 million rows
_FEW_EPOCHS = 16  # in one call; a small source of a mixture is repeated often
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled(positions: np.ndarray, epochs: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return where the permutation of (seed, epoch) sends each position.

    It is built as that of `feeds.permutation`, a Feistel network on a grid with cycle walking. Its random numbers are hashes of
    (seed, epoch, round, cell of a side). They are in tables, which are kept, unless there are too many cells or epochs.

    Args:
      positions: int64 [k], each in [0, size).
      epochs: int64 [k], in any order.
      size: the number of rows of an epoch.
      seed: in [0, 2**32).

    Returns:
      int64 [k], each in [0, size).
    """
    if size <= _TINY:
        drawn = _mixed(_keys(seed, epochs)[:, np.newaxis] + np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN)
        return np.argsort(drawn, axis=1)[np.arange(len(epochs)), positions]
    side, alike = _columns(size), epochs[:1] if (epochs == epochs[:1]).all() else np.unique(epochs)
    if side > _LONGEST_TABLE or len(alike) > _FEW_EPOCHS:
        rounds = _rounds(seed, epochs)
        return _walked(positions, size, lambda cells, which: _hashed(cells, rounds[:, which], size))
    found = np.empty(len(positions), np.int64)
    for epoch in alike.tolist():
        tables, here = _tables(seed, epoch, size), slice(None) if len(alike) == 1 else epochs == epoch
        found[here] = _walked(positions[here], size, lambda cells, _, tables=tables: _looked_up(cells, tables, size))
    return found


def _walked(
    positions: np.ndarray, size: int, once: Callable[[np.ndarray, np.ndarray | slice], np.ndarray]
) -> np.ndarray:
    """Return where `once`, of (cells, which of the positions they come from), takes each position until it is a row."""
    cells = once(positions.astype(np.int64, copy=False), slice(None))
    walking = np.flatnonzero(cells >= size)
    while len(walking):
        cells[walking] = once(cells[walking], walking)
        walking = walking[cells[walking] >= size]
    return cells


def _hashed(cells: np.ndarray, rounds: np.ndarray, size: int) -> np.ndarray:
    """Go through all rounds once, with a hash for each cell, whatever its epoch."""
    columns = _columns(size)
    rows = -(-size // columns)
    row, column = np.divmod(cells, columns)
    for row_key, column_key in zip(rounds[::2], rounds[1::2], strict=True):
        row = (row + _drawn(row_key, column)) % rows
        column = (column + _drawn(column_key, row)) % columns
    return row * columns + column


def _looked_up(cells: np.ndarray, tables: Sequence[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    """Do what `_hashed` does, for cells of one epoch, in a fifth of the time."""
    columns = _columns(size)
    rows = -(-size // columns)
    row = cells // columns
    column = cells - row * columns
    for by_column, by_row in tables:
        row = _wrapped(row + by_column[column], rows)
        column = _wrapped(column + by_row[row], columns)
    return row * columns + column


def _wrapped(cells: np.ndarray, side: int) -> np.ndarray:
    """Return the cells modulo the side, of which none is twice the side; without the sign, what is too small becomes huge."""
    unsigned = cells.view(np.uint64)
    return np.minimum(unsigned, unsigned - np.uint64(side)).view(np.int64)


@functools.lru_cache(maxsize=64)  # the epochs that some sources are in, of at most 0.7 MB each
def _tables(seed: int, epoch: int, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each two rounds of an epoch: column -> what is added to the row, row -> what is added to the column."""
    columns = _columns(size)
    rows = -(-size // columns)
    keys = _rounds(seed, np.array([epoch]))
    return [
        (_drawn(row_key, np.arange(columns)) % rows, _drawn(column_key, np.arange(rows)) % columns)
        for row_key, column_key in zip(keys[::2], keys[1::2], strict=True)
    ]


def _columns(size: int) -> int:
    return math.isqrt(size - 1) + 1


def _rounds(seed: int, epochs: np.ndarray) -> np.ndarray:
    """Return the keys of all rounds of each epoch, (rounds, k)."""
    return _mixed(_keys(seed, epochs) + np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, np.newaxis] * _GOLDEN)


def _keys(seed: int, epochs: np.ndarray) -> np.ndarray:
    return _mixed(_mixed(np.full(1, seed, np.uint64) + _GOLDEN) + epochs.astype(np.uint64))


def _drawn(keys: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return a random number of 31 bits of (key of the round, cell of a side)."""
    mixed = keys ^ (side.view(np.uint64) * _GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(33)).view(np.int64)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Return a hash of each number: the last step of SplitMix64 (Steele, Lea and Flood, 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
