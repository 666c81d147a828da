"""What the configs of this folder train on, and a model; gin finds them by `import benchmarks.advice.made`."""

from __future__ import annotations

import gin
import numpy as np

from ..real_models.arrays import clicks
from ..real_models.embedding import LARGE, Clicks

ROWS = 40_000

gin.external_configurable(Clicks, "Clicks")


@gin.register
def made_clicks() -> dict[str, np.ndarray]:
    """Return ids and whether they were clicked."""
    return clicks(LARGE)


@gin.register
def made_rows() -> dict[str, np.ndarray]:
    """Return a table of the columns of `tabular.gin`: numbers, a category, and a target that depends on them."""
    chance = np.random.default_rng(0)
    numbers = {
        name: chance.standard_normal(ROWS, np.float32) for name in ("age", "bmi", "bp", *(f"s{i}" for i in range(1, 7)))
    }
    category = chance.choice(["female", "male"], ROWS)
    return {**numbers, "sex": category, "progression": numbers["bmi"] * numbers["bp"] + (category == "male")}
