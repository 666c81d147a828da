"""The examples: some of scikit-learn's digits."""

from __future__ import annotations

import functools

import numpy as np
from tallyloop.data import digits

BATCH = 16
Examples = dict[str, np.ndarray]


@functools.cache
def train(rows: int) -> Examples:
    """Return the first `rows` digits: `x` (rows, 64), `y` in 0 to 9, `low` (1 if y < 5), and `mask` for the masked task."""
    return _with_mask(digits("train"), slice(0, rows))


@functools.cache
def test() -> Examples:
    """Return 103 other digits: 6 full batches and one of 7 rows."""
    return _with_mask(digits("test"), slice(0, 103))


def _with_mask(pixels: Examples, rows: slice) -> Examples:
    x, y = pixels["x"][rows], pixels["y"][rows]
    return {"x": x, "y": y, "low": (y < 5).astype(np.float32), "mask": mask(len(x))}


def mask(rows: int) -> np.ndarray:
    """Return a random 1 or 0 per example, float32, that leaves the first replicas only zeros in some batches.

    In every third batch the first half is masked out, in the next one the first quarter, and all of batch 5.
    """
    kept = (np.random.default_rng(7).random(rows) < 0.6).astype(np.float32)
    batch, place = np.divmod(np.arange(rows), BATCH)
    kept[(batch % 3 == 0) & (place < BATCH // 2)] = 0
    kept[(batch % 3 == 1) & (place < BATCH // 4)] = 0
    kept[batch == 5] = 0
    return kept
