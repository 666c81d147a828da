"""What the processes of `benchmarks.startup` train on; as it must cost them nothing to load, this imports NumPy alone."""

import numpy as np

BATCH = 64
FIRST_STEP = "the first step is done"


def rows(count: int = 1437) -> dict[str, np.ndarray]:
    """x (count, 64), y (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, 64), np.float32), "y": chance.integers(0, 10, count)}
