"""The configs that are tuned, and what two of them train on: gin finds it by `import benchmarks.advice.configs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import gin
import numpy as np

from ..real_models.arrays import clicks
from ..real_models.embedding import LARGE, Clicks

_LONG = "train_steps=100000"  # as many as make any start pay
CONFIGS: Mapping[str, Sequence[str]] = {
    "transformer": ["--gin_file=char_lm.gin", f"--gin_param=Trainer.{_LONG}"],
    "cnn": ["--gin_file=mnist_cnn.gin", f"--gin_param={_LONG}"],
    "recommender": [f"--gin_file={Path(__file__).with_name('recommender.gin')}"],
    "tabular": [f"--gin_file={Path(__file__).with_name('table.gin')}"],
}
ROWS = 40_000  # of the table

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
