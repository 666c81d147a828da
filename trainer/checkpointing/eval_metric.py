"""One of the evaluations' metrics, by the name that a user binds, and which value of it is better."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from ...metrics.errors import UsageError, did_you_mean
from ...metrics.writers import Summary
from ...metrics.writers.better import Mode


class EvalMetric:
    """A metric of the evaluations that a decision depends on.

    Args:
      binding: the parameter that names it, such as "Trainer.best_metric".
      name: DATASET/METRIC, or METRIC where there is one eval dataset.
      mode: whether more ("max") or less ("min") of it is better.
    """

    def __init__(self, binding: str, name: str, mode: Mode | None):
        self._binding = binding
        self.name: str = name
        self._mode = mode

    def check(self, known: Mapping[str, list[str]]) -> None:
        """Check that the evaluation computes the metric.

        Args:
          known: dataset -> the paths of its metrics, or prefixes of them.

        Raises:
          UsageError: it does not.
        """
        names = _by_name({dataset: dict.fromkeys(paths) for dataset, paths in known.items()}, len(known) == 1)
        if not any(self.name == name or self.name.startswith(f"{name}/") for name in names):
            suggestion = did_you_mean(self.name, names)
            raise UsageError(
                f"{self._binding} = {self.name!r}: no evaluation computes it{suggestion or '.'} Expected one of "
                f"{', '.join(sorted(names))}."
            )

    def is_of(self, dataset: str, only: bool) -> bool:
        """Return whether this is a metric of that eval dataset; `only` says whether there are no others."""
        return only or self.name.startswith(f"{dataset}/")

    def value(self, evaluated: Mapping[str, Mapping[str, Any]], only: bool) -> float | None:
        """Return the metric's value in an evaluation; None if it isn't there, as it had no examples.

        Args:
          evaluated: dataset -> metric -> value; it may be a part of the evaluation.
          only: whether there is only one eval dataset.

        Raises:
          UsageError: it isn't a single number.
        """
        value = _by_name(evaluated, only).get(self.name)
        if value is not None and getattr(value, "ndim", 0):
            raise UsageError(f"{self._binding} = {self.name!r} is an array: expected a single number.")
        return None if value is None else float(value)

    def is_better(self, value: float, than: float, min_delta: float = 0.0) -> bool:
        """Return whether a value is better than another one, by more than `min_delta`. NaN is worse than any number."""
        if math.isnan(value) or math.isnan(than):
            return not math.isnan(value)
        return value > than + min_delta if self._mode == "max" else value < than - min_delta


def dataset_of(summary: Summary, datasets: Collection[str]) -> str | None:
    """Return the eval dataset that a summary is of; None for a summary of training."""
    if summary.split == "train":
        return None
    return summary.split.removeprefix("eval/") if len(datasets) > 1 else next(iter(datasets))


def _by_name(evaluated: Mapping[str, Mapping[str, Any]], only: bool) -> dict[str, Any]:
    named = {f"{dataset}/{path}": value for dataset, found in evaluated.items() for path, value in found.items()}
    return {**next(iter(evaluated.values()), {}), **named} if only else named
