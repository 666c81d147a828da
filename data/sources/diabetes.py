"""The source `diabetes`: scikit-learn's table of patients, for examples of tables without a download."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np

from ...metrics.errors import UsageError
from .storage.rows import Split, split_rows


@gin.register(module="tallyloop")
def diabetes(split: Split = "train", test_fraction: float = 0.2, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the table of 442 patients that scikit-learn ships, as columns, or one part of a split of it.

    Args:
      split: "train", "test" or "all". The first two have no patient in common, and together are "all".
      test_fraction: the fraction that is "test", between 0 and 1.
      seed: the seed of the split, in [0, 2**32).

    Returns:
      `age`, `bmi`, `bp` and `s1` to `s6` (float32), `sex` ("1" or "2"), and `progression` (float32), each of shape (n,): how far
      the disease had come a year later, from 25 to 346.

    Raises:
      UsageError: an argument is not as described, or scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise UsageError(
            f"diabetes: scikit-learn, which ships it, cannot be imported ({error}); install it with: "
            'pip install "tallyloop[examples]"'
        ) from error
    table: Any = load_diabetes(scaled=False)
    rows = split_rows("diabetes", np.zeros(len(table.target)), split, test_fraction, seed)
    columns = {name: table.data[rows, place] for place, name in enumerate(table.feature_names)}
    columns["progression"] = table.target[rows]
    numbers = {name: column.astype(np.float32) for name, column in columns.items() if name != "sex"}
    return {**numbers, "sex": columns["sex"].astype(int).astype(str)}
