"""What a replay returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..task import ONE_LOSS
from . import report
from .examining import Examined, LayerOutput
from .run_folder import Agreement


@dataclasses.dataclass(frozen=True)
class Replay:
    """A step of a run, as it happened.

    Attributes:
      step: its number, from 1: that of the metrics of a run with `summary_interval=1`.
      checkpoint: the step of the checkpoint that the replay began with; None if it was the start of the run.
      replicas: how many there were.
      finite: whether the run went on after the step.
      batch: the global batch, a nest of NumPy arrays.
      rows: the numbers of its examples in the source, int64 (n,); None for a stream, and where bad examples are skipped.
      place: where in the data it is, in words.
      metrics: metric path -> value of this step alone, over all replicas: what metrics.jsonl has with `summary_interval=1`.
      by_replica: the same of each replica alone.
      weights: path of a trained variable -> its value before the step.
      gradients: path of a variable -> the gradient of the step's batch, over all replicas and before clipping; without the
        variables that the loss doesn't depend on.
      updates: path of a variable -> what the step added to it; 0 in a step that only accumulates.
      examined: the forward pass, example by example and layer by layer.
      first_non_finite: where a number first became NaN or infinite, in words; None if all were finite.
      agreement: whether the losses on the way are those that the run wrote.
      make_model: makes `model`.
    """

    step: int
    checkpoint: int | None
    replicas: int
    finite: bool
    batch: Any
    rows: np.ndarray | None
    place: str
    metrics: Mapping[str, Any]
    by_replica: list[dict[str, Any]]
    weights: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray]
    updates: Mapping[str, np.ndarray]
    examined: Examined
    first_non_finite: str | None
    agreement: Agreement
    make_model: Callable[[], keras.Model] = dataclasses.field(repr=False)

    @cached_property
    def model(self) -> keras.Model:
        """A model of its own, with the weights before the step."""
        return self.make_model()

    @property
    def losses(self) -> np.ndarray | dict[str, np.ndarray]:
        """The loss of each example (n,), in the order of the batch, without penalties; of several losses, name -> that."""
        found = self.examined.losses
        return found[ONE_LOSS] if found.keys() == {ONE_LOSS} else found

    @property
    def layers(self) -> list[LayerOutput]:
        """The output of each layer, in the order of the computation, one replica after the other."""
        return self.examined.layers

    @property
    def worst(self) -> np.ndarray:
        """The positions in the batch, from the greatest loss down (the sum, of several); those that are not finite come first."""
        found = self.examined.losses
        total = np.sum(list(found.values()), 0) if found else np.zeros(0)
        return np.argsort(np.where(np.isfinite(total), -total, -np.inf), kind="stable")

    def write(self, folder: str | Path) -> Path:
        """Write report.md, report.json, batch.npz and the images of the examples; returns the folder, which is replaced.

        Args:
          folder: where to.
        """
        return report.write(Path(folder), self.facts(), self.batch)

    def facts(self) -> dict[str, Any]:
        """Return the content of report.json, but for the examples: numbers that are NaN or infinite are Python's floats."""
        rows = [None] * len(self.worst) if self.rows is None else self.rows.tolist()
        examples = [
            {
                "position": i,
                "row": rows[i],
                "losses": {name or "loss": float(each[i]) for name, each in self.examined.losses.items()},
            }
            for i in self.worst.tolist()
        ]
        return {
            "step": self.step,
            "checkpoint": self.checkpoint,
            "replicas": self.replicas,
            "finite": self.finite,
            "first_non_finite": self.first_non_finite,
            "place": self.place,
            "agreement": {"same": self.agreement.same, "different": [list(each) for each in self.agreement.different]},
            "metrics": {path: np.asarray(value).tolist() for path, value in self.metrics.items()},
            "metrics_by_replica": [
                {path: np.asarray(value).tolist() for path, value in each.items()} for each in self.by_replica
            ],
            "rows": None if self.rows is None else self.rows.tolist(),
            "examples": examples,
            "note": self.examined.note,
            "variables": [self._variable(path) for path in self.weights],
            "layers": [{**each._asdict(), "shape": list(each.shape)} for each in self.layers],
        }

    def _variable(self, path: str) -> dict[str, Any]:
        gradient = self.gradients.get(path)
        return {
            "path": path,
            "shape": list(self.weights[path].shape),
            "weight_norm": _norm(self.weights[path]),
            "gradient_norm": None if gradient is None else _norm(gradient),
            "update_norm": _norm(self.updates[path]),
        }


def _norm(numbers: np.ndarray) -> float:
    return float(np.linalg.norm(numbers.astype(np.float64).ravel()))
