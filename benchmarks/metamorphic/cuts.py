"""Random cuts: how the rows of a program are divided over batches, replicas, steps and summaries."""

from __future__ import annotations

import dataclasses
from itertools import cycle, islice
from typing import Literal

import numpy as np
import tensorflow as tf
from tallyloop.data import Input

TRAIN_SUMMARIES = 5  # of a program: each has other rows, or the same ones in other batches
EVALUATION = "eval"
_MOST_ROWS = 24
_MOST_STEPS = 3  # between two summaries


class RowsByNumber:
    """A source that is read by row number."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array[rows] for name, array in self._arrays.items()}


@dataclasses.dataclass(frozen=True)
class Cut:
    """The cut of the rows, and the way the steps are run.

    Attributes:
      replicas: logical CPU devices; 1 is one device, without distribution.
      evaluates: whether there is an evaluation after the last step, which takes as long to trace as training does.
      rows: of the train set and of the eval set.
      batch_sizes: of the train set and of the eval set; their last batches may be short, and leave replicas empty.
      interval: steps between two summaries.
      accumulation: steps per update.
      steps_per_loop: see `Trainer`.
      source: what the `Input`s read.
      is_fed: whether a batch brings all values; otherwise only numbers of rows, by which the task looks them up.
      shuffle: whether the order of training is drawn.
      jit_compile: whether XLA compiles the steps.
    """

    replicas: int
    evaluates: bool
    rows: tuple[int, int]
    batch_sizes: tuple[int, int]
    interval: int
    accumulation: int
    steps_per_loop: int | Literal["auto"]
    source: Literal["arrays", "a stream", "rows by number"]
    is_fed: bool
    shuffle: bool
    jit_compile: bool

    @property
    def steps(self) -> int:
        """The number of train steps."""
        return self.interval * TRAIN_SUMMARIES

    @property
    def train_rows(self) -> list[list[np.ndarray]]:
        """The rows of each train step between two summaries, unless they are shuffled: then all that is known is their sum."""
        rows, size = self.rows[0], self.batch_sizes[0]
        epoch = [np.arange(i, min(i + size, rows)) for i in range(0, rows, size)]
        steps = list(islice(cycle(epoch), self.steps))
        return [steps[i : i + self.interval] for i in range(0, self.steps, self.interval)]

    @property
    def eval_rows(self) -> np.ndarray:
        """The rows of the evaluation."""
        return np.arange(self.rows[0], sum(self.rows))

    @property
    def summaries(self) -> list[str]:
        """The name of each summary, in which all metrics of the program are checked."""
        found = [f"train_{step}" for step in range(self.interval, self.steps + 1, self.interval)]
        return [*found, EVALUATION] if self.evaluates else found

    @property
    def traits(self) -> list[str]:
        """The traits that the page counts."""
        cut = list(zip(self.rows, self.batch_sizes, strict=True))[: 1 + self.evaluates]
        found = {
            f"{self.replicas} replica{'s' if self.replicas > 1 else ''}": True,
            "an evaluation": self.evaluates,
            "a ragged last batch": any(n % size for n, size in cut),
            "an empty replica": any(0 < n % size < self.replicas for n, size in cut),
            "gradient_accumulation": self.accumulation > 1,
            "several steps per loop": self.steps_per_loop != 1,
            self.source: True,
            "all values in the batch": self.is_fed,
            "shuffled": self.shuffle,
            "jit_compile": self.jit_compile,
        }
        return [name for name, holds in found.items() if holds]

    def inputs(self, data: dict[str, np.ndarray]) -> tuple[Input, Input]:
        """Return the train set and the eval set of these rows."""
        train, evaluation = (
            {name: values[part] for name, values in data.items()}
            for part in (slice(0, self.rows[0]), slice(self.rows[0], None))
        )
        return self._input(train, self.batch_sizes[0], self.shuffle), self._input(
            evaluation, self.batch_sizes[1], False
        )

    def _input(self, arrays: dict[str, np.ndarray], size: int, shuffle: bool) -> Input:
        sources = {
            "arrays": arrays,
            "a stream": lambda: tf.data.Dataset.from_tensor_slices(arrays),
            "rows by number": RowsByNumber(arrays),
        }
        return Input(sources[self.source], size, shuffle=shuffle)


def random_cut(rng: np.random.Generator) -> Cut:
    """Return a cut; of a shuffled train set, each summary is of one epoch."""
    compiled = bool(rng.random() < 0.05)
    replicas = 1 if compiled else int(rng.choice([1, 2, 3, 4], p=[0.55, 0.35, 0.06, 0.04]))
    rows = int(rng.integers(6, 1 + _MOST_ROWS)), int(rng.integers(6, 1 + _MOST_ROWS))
    sizes = [int(rng.integers(max(replicas, 2), 1 + min(each, _MOST_ROWS // 2))) for each in rows]
    shuffle = bool(rng.random() < 0.3)
    return Cut(
        replicas=replicas,
        evaluates=bool(rng.random() < 0.5),
        rows=rows,
        batch_sizes=(sizes[0], sizes[1]),
        interval=-(-rows[0] // sizes[0]) if shuffle else int(rng.integers(1, 1 + _MOST_STEPS)),
        accumulation=int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])),
        steps_per_loop=("auto", 1, 3)[rng.integers(3)],
        source="arrays" if compiled else ("arrays", "a stream", "rows by number")[rng.choice(3, p=[0.6, 0.2, 0.2])],
        is_fed=bool(rng.random() < 0.3),
        shuffle=shuffle,
        jit_compile=compiled,
    )
