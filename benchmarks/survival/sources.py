"""The examples of the training that is killed. Without TensorFlow, for the processes that read rows."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np

FEATURES, CLASSES, EXAMPLES = 12, 4, 330
_TOKENS = 50


@gin.register(module="survival")
def arrays(seed: int = 0, examples: int = EXAMPLES) -> dict[str, np.ndarray]:
    """Return points around the centres of their classes, which overlap so much that no network classifies all correctly."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CLASSES, FEATURES))
    y = generator.integers(0, CLASSES, examples).astype(np.int32)
    x = centres[y] + generator.normal(scale=2.0, size=(examples, FEATURES))
    return {"x": x.astype(np.float32), "y": y, "number": np.arange(examples)}


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
        "x": tokens
        + 0.1 * rng.normal(size=FEATURES).astype(np.float32)
        + 0.01 * example["positions"].astype(np.float32),
        "y": np.int32((example["tokens"].sum() + example["segment_ids"].max()) % CLASSES),
    }
