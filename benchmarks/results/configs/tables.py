"""The config of tables: scikit-learn's diabetes data, and a made table whose columns interact."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import BELOW, Config, Figure, Goal, Reference, last
from ..run import Run

_NUMBERS = ("a", "b", "c")
_KINDS = ("red", "green", "blue", "grey")
_SIZES = {"train": 4000, "test": 1000}


def made_table(split: str) -> dict[str, np.ndarray]:
    """Return a table whose target is a product of columns, and depends on one of them by category, with noise of 0.3."""
    generator = np.random.default_rng(list(_SIZES).index(split))
    size = _SIZES[split]
    a, b, c = generator.normal(size=(3, size))
    kind, noise = generator.integers(0, len(_KINDS), size), generator.normal(0, 0.3, size)
    y = a * b + np.sin(2 * c) + np.array([-1.0, 0.0, 1.0, 2.0])[kind] * c + noise
    weight = generator.choice([0.5, 1.0], size)
    return {"a": a, "b": b, "c": c, "kind": np.array(_KINDS)[kind], "weight": weight, "y": y}


def write_csv(file: Path, table: Mapping[str, np.ndarray]) -> None:
    """Write the columns as CSV with a header."""
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(table)
        writer.writerows(zip(*(column.tolist() for column in table.values()), strict=True))


def ridge_rmse(train: Mapping[str, Any], test: Mapping[str, Any], target: str, weight: str | None = None) -> float:
    """Return the test RMSE of ridge regression on the normalized numbers and the categories, its strength cross-validated."""
    from sklearn.linear_model import RidgeCV

    names = [name for name in train if name not in (target, weight)]
    scale = {name: (train[name].mean(), train[name].std()) for name in names if train[name].dtype.kind == "f"}

    def features(table: Mapping[str, Any]) -> np.ndarray:
        numbers = [(table[name] - mean) / deviation for name, (mean, deviation) in scale.items()]
        kinds = [table[name] == kind for name in names if name not in scale for kind in np.unique(train[name])]
        return np.stack([*numbers, *kinds], axis=1).astype(np.float64)

    weights = None if weight is None else train[weight]
    model = RidgeCV(np.logspace(-2, 3, 20)).fit(features(train), train[target], sample_weight=weights)
    return float(np.sqrt(np.mean((model.predict(features(test)) - test[target]) ** 2)))


def diabetes_ridge(run: Run) -> Reference:
    """Return ridge's test RMSE on the patients."""
    from tallyloop.data import diabetes

    return Reference("ridge regression", ridge_rmse(diabetes("train"), diabetes("test"), "progression"))


def weighted_ridge(run: Run) -> Reference:
    """Return ridge's test RMSE on the patients, both sexes of the same weight in all."""
    from tallyloop.data import diabetes
    from tallyloop.models import balanced_rows

    train = balanced_rows(diabetes, "sex")
    return Reference("ridge regression", ridge_rmse(train, diabetes("test"), "progression", "weight"))


def made_ridge(run: Run) -> Reference:
    """Return ridge's test RMSE on the made table."""
    return Reference("ridge regression", ridge_rmse(made_table("train"), made_table("test"), "y", "weight"))


def made_rmse(run: Run) -> float:
    """Train the config on the made table, from CSV files, and return the test RMSE."""
    folder = run.folder.parent
    for split in _SIZES:
        write_csv(folder / f"{split}.csv", made_table(split))
    bindings = (
        "train_rows=@train/csv",
        "test_rows=@test/csv",
        f'train/csv.path="{folder / "train.csv"}"',
        f'test/csv.path="{folder / "test.csv"}"',
        'TabularTask.target="y"',
        f"TabularTask.numeric={list(_NUMBERS)}",
        'TabularTask.categorical=["kind"]',
        'TabularTask.sample_weight="weight"',
        "TabularTask.hidden=(64, 64)",
        "TabularTask.dropout=0.0",
        "Trainer.train_steps=4000",
        "keras.optimizers.Adam.weight_decay=None",
    )
    return last("rmse")(run.again("tabular_made", parameters=bindings))


CONFIGS = (
    Config(
        "tabular",
        "a number from the columns of a table",
        """
Numbers and categories from a CSV or Parquet file, or from arrays. Look at it for columns by name, and for
preprocessing layers that adapt to the training rows. The second figure is of a table made for this page,
read from CSV files: a product of two columns, and one whose effect depends on a category, which no linear model sees; its noise
alone is 0.3. Its command line has twelve bindings, those of `made_rmse` in
[tables.py](../benchmarks/results/configs/tables.py). The network's size and decay were chosen on other splits (`diabetes.seed` 1
to 3) than the one of this page.
""",
        (
            Figure("test RMSE, diabetes", last("rmse"), BELOW, diabetes_ridge, 2),
            Figure("test RMSE, a table with interactions", made_rmse, Goal("<=", 0.5, True), made_ridge, 3),
        ),
        curve="rmse",
    ),
    Config(
        "tabular_weighted",
        "the same with weights of rows",
        """
A config of four lines that includes `tabular.gin`. Look at it for `sample_weight`: there are more patients of one sex, and
`balanced_rows` gives both the same weight in all. If your table has a column of weights, `TabularTask.sample_weight` names it.
The weights act in training alone; the error is that of all test rows, each counted once. The reference has the same weights.
""",
        (Figure("test RMSE, diabetes", last("rmse"), BELOW, weighted_ridge, 2),),
        curve="rmse",
    ),
)
