"""Rows by number for the training that is killed. Without TensorFlow, for the processes that read them."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np

LENGTH, CLASSES = 12, 4  # of a pack, which becomes the features of an example
_TOKENS = 50


@gin.register(module="survival")
def documents(seed: int = 0, count: int = 150) -> list[list[int]]:
    """Return sequences of 0 to 39 tokens."""
    generator = np.random.default_rng(seed)
    return [generator.integers(0, _TOKENS, generator.integers(0, 40)).tolist() for _ in range(count)]


@gin.register(module="survival")
def features(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return the tokens of a pack with noise, and a class that depends on the tokens alone."""
    tokens = example["tokens"].astype(np.float32) / _TOKENS
    return {
        "x": tokens + 0.1 * rng.normal(size=LENGTH).astype(np.float32) + 0.01 * example["positions"].astype(np.float32),
        "y": np.int32((example["tokens"].sum() + example["segment_ids"].max()) % CLASSES),
    }
