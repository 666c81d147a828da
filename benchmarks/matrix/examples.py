"""The examples: a few of scikit-learn's digits."""

from __future__ import annotations

import functools

import numpy as np
from tallyloop.data import digits

BATCH = 16
Examples = dict[str, np.ndarray]


@functools.cache
def train(rows: int) -> Examples:
    """The first `rows` digits: `x` (n, 64), `y` in 0 to 9, `low` (whether y < 5), and `mask`, of the masked task."""
    return _with_mask(digits("train"), slice(0, rows))


@functools.cache
def test() -> Examples:
    """103 other digits: 6 batches, and one of 7."""
    return _with_mask(digits("test"), slice(0, 103))


def _with_mask(pixels: Examples, rows: slice) -> Examples:
    x, y = pixels["x"][rows], pixels["y"][rows]
    return {"x": x, "y": y, "low": (y < 5).astype(np.float32), "mask": mask(len(x))}


def mask(rows: int) -> np.ndarray:
    """1 or 0 an example, at random; but the replicas that come first have nothing but zeros in some batches.

    In every third batch the first half is masked, in the next one the first quarter, and all of batch 5.
    """
    kept = (np.random.default_rng(7).random(rows) < 0.6).astype(np.float32)
    batch, place = np.divmod(np.arange(rows), BATCH)
    kept[(batch % 3 == 0) & (place < BATCH // 2)] = 0
    kept[(batch % 3 == 1) & (place < BATCH // 4)] = 0
    kept[batch == 5] = 0
    return kept
