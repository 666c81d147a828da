"""What a finisher is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from ..tally import Tally, tally

FinishName = Literal[
    "mean", "sum", "exp", "sqrt", "std", "max", "min", "per_second", "per_class", "confusion_matrix", "auc",
    "precision", "precision_macro", "precision_micro", "precision_per_class",
    "recall", "recall_macro", "recall_micro", "recall_per_class",
    "f1", "f1_macro", "f1_micro", "f1_per_class",
]  # fmt: skip
Finished = float | np.ndarray | Mapping[str, float]
FinishFn = Callable[[np.ndarray, np.ndarray], Finished]


@dataclasses.dataclass(frozen=True)
class Finisher:
    """Turns a reduced tally into what is written. Finishers with equal `key` are equal.

    Attributes:
      name: how error messages refer to it.
      key: identifies the finisher. Functions created anew in each trace of the same line share one.
      finish: `(value, count) -> float`, an array, or a dict of path suffix -> float. Both arguments are float64 NumPy
        arrays, and at least one count is not 0.
      tally: how `metrics.add` sums the values of a step for this finisher.
      combine: "sum", or "max" if the value is a maximum instead of a sum.
      per_second: whether to divide the value by the seconds that the sums span.
    """

    name: str
    key: Any = dataclasses.field(repr=False)
    finish: FinishFn = dataclasses.field(compare=False)
    tally: Callable[[tf.Tensor, tf.Tensor | None], Tally] = dataclasses.field(default=tally, compare=False)
    combine: Literal["sum", "max"] = "sum"
    per_second: bool = False


Finish = FinishName | FinishFn | Finisher | None
"""What users pass as `finish`; None means "mean"."""
