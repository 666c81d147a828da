"""The data and the marker that the processes of `python -m benchmarks.startup` share.

It imports nothing that adds to the start that is timed.
"""

import numpy as np

BATCH, STEPS, LOOP = 64, 2000, 100  # as in `digits.gin`
FIRST_STEP = "the first step is done"


def rows(count: int = 1437) -> dict[str, np.ndarray]:
    """Return random rows: `x` float32 (count, 64), `y` int64 (count,)."""
    chance = np.random.default_rng(0)
    return {"x": chance.random((count, 64), np.float32), "y": chance.integers(0, 10, count)}


def splits() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the 1,797 digits that scikit-learn ships, as train and test rows, like `rows`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x, y = (digits.data / 16).astype("float32"), digits.target
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.2, random_state=0, stratify=y)
    return {"x": train_x, "y": train_y}, {"x": test_x, "y": test_y}
