"""The data of the models, made without TensorFlow, so that every framework's process makes the same."""

from __future__ import annotations

import numpy as np

VOCABULARY, LENGTH = 256, 64  # of the transformer
SIDE, DIGITS = 28, 10  # of the convolutional network
COLUMNS, CLASSES = 54, 7  # of the table, as in covertype
IDS = 8  # of the recommender


def tokens() -> dict[str, np.ndarray]:
    """Return random windows of bytes: `x` int32 (4096, LENGTH), and `y`, the byte after each, of the same shape."""
    windows = np.random.default_rng(0).integers(0, VOCABULARY, (4096, LENGTH + 1)).astype(np.int32)
    return {"x": np.ascontiguousarray(windows[:, :-1]), "y": np.ascontiguousarray(windows[:, 1:])}


def images() -> dict[str, np.ndarray]:
    """Return random images: `x` float32 (4096, SIDE, SIDE, 1), `y` int32 (4096,) below DIGITS."""
    chance = np.random.default_rng(0)
    x = chance.random((4096, SIDE, SIDE, 1), np.float32)
    return {"x": x, "y": chance.integers(0, DIGITS, 4096).astype(np.int32)}


def table() -> dict[str, np.ndarray]:
    """Return random rows: `x` float32 (262144, COLUMNS), `y` int32 (262144,) below CLASSES."""
    chance = np.random.default_rng(0)
    x = chance.standard_normal((262_144, COLUMNS), np.float32)
    return {"x": x, "y": chance.integers(0, CLASSES, 262_144).astype(np.int32)}


def clicks(items: int) -> dict[str, np.ndarray]:
    """Return random examples: `x` int32 (25600, IDS) below `items`, `y` float32 (25600,), 0 or 1."""
    x = np.random.default_rng(0).integers(0, items, (25_600, IDS)).astype(np.int32)
    return {"x": x, "y": (x.sum(1) % 2).astype(np.float32)}


def batches(seed: int, rows: int, batch: int, steps: int) -> np.ndarray:
    """Return the shuffled row numbers of `steps` full batches, epoch after epoch: int64 (steps, batch)."""
    chance = np.random.default_rng(seed)
    epochs = -(-steps // (rows // batch))
    whole = rows // batch * batch
    return np.concatenate([chance.permutation(rows)[:whole] for _ in range(epochs)])[: steps * batch].reshape(-1, batch)
