"""The random numbers of a row in an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence


class EpochSeed:
    """Makes generators keyed by (seed, epoch, row).

    A `SeedSequence` of its own for each row would take longer than many transforms: the rows of an epoch share one. It gives the
    key of a Philox generator, which gives independent numbers for different keys, and each row has another key.

    Args:
      seed: the seed of the run.
      epoch: the number of the epoch.
    """

    def __init__(self, seed: int, epoch: int):
        self._entropy = seed, epoch
        self._key = np.random.SeedSequence(self._entropy).generate_state(2, np.uint64)

    def generator(self, row: int) -> np.random.Generator:
        """Return the generator of a row."""
        key = self._key.copy()
        key[1] ^= np.uint64(row)
        seed: Any = _RowSeed(key, (*self._entropy, row))  # any ISeedSequence will do, which NumPy's stubs do not say
        return np.random.Generator(np.random.Philox(seed))


class _RowSeed(ISpawnableSeedSequence):
    """Gives a generator its key; and what else may be asked of a seed, as NumPy does for (seed, epoch, row)."""

    def __init__(self, key: np.ndarray, entropy: tuple[int, int, int]):
        self._key = key
        self._entropy = entropy
        self._sequence: np.random.SeedSequence | None = None

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """Return the key; for another size or dtype, what NumPy's `SeedSequence` gives."""
        if n_words == len(self._key) and np.dtype(dtype) == np.uint64:
            return self._key.copy()
        return self._numpys().generate_state(n_words, dtype)

    def spawn(self, n_children: int) -> list[Any]:
        """Return seeds of further generators, others at each call."""
        return self._numpys().spawn(n_children)

    def _numpys(self) -> np.random.SeedSequence:
        self._sequence = self._sequence or np.random.SeedSequence(self._entropy)
        return self._sequence
