"""The plan of `packed`: which pieces of which documents stand in which pack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Plan(NamedTuple):
    """The pieces, pack after pack.

    Attributes:
      documents: the document of each piece.
      starts: its first token there.
      lengths: its tokens.
      totals: the tokens of the whole document.
      packs: (n + 1,) where the pieces of each pack begin, and the end of the last.
    """

    documents: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    totals: np.ndarray
    packs: np.ndarray

    def save(self, folder: Path) -> None:
        """Write the plan to files in `folder`."""
        for name, array in self._asdict().items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> Plan:
        """Return a plan that `save` wrote, memory-mapped."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls._fields))


def plan_packs(lengths: np.ndarray, size: int) -> Plan:
    """Return a plan in which each token stands once, in few packs.

    Documents longer than a pack are cut into pieces as long as a pack, and a rest. Each piece, in order, goes where the least
    space remains ("best fit").

    Args:
      lengths: the tokens of each document.
      size: the tokens of a pack.
    """
    pieces = np.array(list(_pieces(lengths, size)), np.int64).reshape(-1, 3)
    packs = _best_fit(pieces[:, 2].tolist(), size)
    order = np.argsort(packs, kind="stable")
    count = int(packs.max(initial=-1)) + 1
    bounds = np.searchsorted(packs[order], np.arange(count + 1))
    documents, starts, sizes = pieces[order].T.copy()
    return Plan(documents, starts, sizes, lengths[documents], bounds)


def _pieces(lengths: np.ndarray, size: int) -> Iterator[tuple[int, int, int]]:
    for document, length in enumerate(lengths.tolist()):
        for start in range(0, length, size):
            yield document, start, min(size, length - start)


def _best_fit(lengths: list[int], size: int) -> np.ndarray:
    """Return the pack of each piece."""
    packs = np.empty(len(lengths), np.int64)
    with_space: list[list[int]] = [[] for _ in range(size + 1)]
    spaces = 0  # bit k is set where some pack has k tokens of space
    count = 0
    for number, length in enumerate(lengths):
        if enough := spaces >> length:
            space = length + (enough & -enough).bit_length() - 1
            pack = with_space[space].pop()
            if not with_space[space]:
                spaces &= ~(1 << space)
        else:
            space, pack = size, count
            count += 1
        packs[number] = pack
        if remaining := space - length:
            with_space[remaining].append(pack)
            spaces |= 1 << remaining
    return packs
