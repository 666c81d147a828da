"""The data and the marker that the processes of `python -m benchmarks.startup` share.

It imports NumPy alone, so that it adds nothing to the start that is timed.
"""

import numpy as np

BATCH = 64
FIRST_STEP = "the first step is done"


def rows(count: int = 1437) -> dict[str, np.ndarray]:
    """Return random rows: `x` float32 (count, 64), `y` int64 (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, 64), np.float32), "y": chance.integers(0, 10, count)}
