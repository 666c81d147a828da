"""A program: one random task that holds a dozen cases, one random cut, and how its numbers compare with those of a plain pass.

A program is a function of its number alone, so a failing one is run again by its number.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer, one_device

from . import losses
from .constructs import Added, Construct, Way, random_construct
from .keras_metrics import RandomKerasMetric, random_keras_metric
from .losses import Loss, PlainTraining, random_loss, random_rows
from .values import Expectation, Expected, Kind, Metric, random_metric

GROUPS, ADDED, REGISTERED, KERAS = 3, 10, 1, 2  # the last three are cases; a group has `ADDED` of them
CASES = GROUPS * ADDED + REGISTERED + KERAS + 2  # of a program, with the loss and the weights
_SEED = 20261
_REGISTERED_FINISHERS = "mean", "sum", "exp", "sqrt", "a function"


@dataclasses.dataclass(frozen=True)
class Cut:
    """How the rows are cut, and how the steps are run.

    Attributes:
      replicas: logical CPU devices; 1 is one device, without distribution.
      rows: of the train set and of the eval set.
      batch_sizes: of the train set and of the eval set; their last batches may be short, and leave replicas empty.
      epochs: over the train set.
      accumulation: steps per update.
      steps_per_loop: see `Trainer`.
      source: what the `Input`s read.
      shuffle: whether the order of training is drawn.
      jit_compile: whether XLA compiles the steps.
    """

    replicas: int
    rows: tuple[int, int]
    batch_sizes: tuple[int, int]
    epochs: int
    accumulation: int
    steps_per_loop: int | Literal["auto"]
    source: Literal["arrays", "a stream"]
    shuffle: bool
    jit_compile: bool

    @property
    def step_rows(self) -> list[np.ndarray]:
        """The rows of each train step, if they are not shuffled."""
        rows, size = self.rows[0], self.batch_sizes[0]
        return [np.arange(i, min(i + size, rows)) for _ in range(self.epochs) for i in range(0, rows, size)]

    @property
    def traits(self) -> list[str]:
        """What the page counts."""
        found = {
            f"{self.replicas} replica{'s' if self.replicas > 1 else ''}": True,
            "a ragged last batch": any(n % size for n, size in zip(self.rows, self.batch_sizes, strict=True)),
            "an empty replica": any(
                0 < n % size < self.replicas for n, size in zip(self.rows, self.batch_sizes, strict=True)
            ),
            "gradient_accumulation": self.accumulation > 1,
            "several steps per loop": self.steps_per_loop != 1,
            self.source: True,
            "shuffled": self.shuffle,
            "jit_compile": self.jit_compile,
        }
        return [name for name, holds in found.items() if holds]


@dataclasses.dataclass(frozen=True)
class Case:
    """One checked number, in training and in evaluation.

    Attributes:
      name: the metric's path.
      construct: how it is added, on the page.
      metric: what is added.
      how: the construct; None for a metric that the task registers.
    """

    name: str
    construct: str
    metric: Metric | RandomKerasMetric
    how: Construct | None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the case needs of the data, by the batch's keys."""
        return {f"{self.name}/{end}": values for end, values in self.metric.arrays.items()}

    def expected(self, rows: np.ndarray, training: bool) -> dict[str, Expected]:
        """Return path -> number, after these rows."""
        if self.how is not None and self.how.in_training_only and not training:
            return {}
        found: Expectation = self.metric.expected(rows)
        scopes = ("",) if self.how is None else self.how.scopes
        return {f"{scope}{self.name}{end}": each for scope in scopes for end, each in found.items()}

    def __str__(self) -> str:
        if isinstance(self.metric, RandomKerasMetric):
            return f"{self.construct}: {self.metric.kind}({self.metric.make().get_config()})"
        kind = self.metric.kind
        return f"{self.construct}: {kind.finisher} of {kind.dtype} {('rows', *kind.shape)}, weights: {kind.weighted}"


@dataclasses.dataclass(frozen=True)
class Program:
    """One random task and one random cut.

    Attributes:
      number: what it was made from.
      cut: of the rows and steps.
      loss: of the task.
      groups: cases that are added together, by one construct.
      registered: cases that are metrics of the task.
      data: key -> all rows; first those of the train set.
    """

    number: int
    cut: Cut
    loss: Loss
    groups: list[list[Case]]
    registered: list[Case]
    data: Mapping[str, np.ndarray] = dataclasses.field(repr=False)

    @property
    def cases(self) -> list[Case]:
        """All cases but the loss and the weights."""
        return [*(case for group in self.groups for case in group), *self.registered]

    @property
    def train_rows(self) -> np.ndarray:
        """The rows that training has seen, as often as it has seen them."""
        return np.concatenate(self.cut.step_rows)

    @property
    def eval_rows(self) -> np.ndarray:
        """The rows of the evaluation."""
        return np.arange(self.cut.rows[0], sum(self.cut.rows))


class RandomTask(Task):
    """The task of a program."""

    def __init__(self, program: Program):
        self._program = program
        self.metrics = {case.name: _registered(case) for case in program.registered}
        self._ways: list[tuple[list[str], Way]] = []

    def build_model(self):
        """Return the model, and make the layers in which values are added; they have no weights."""
        self._ways = [([key for case in group for key in case.arrays], _way(group)) for group in self._program.groups]
        return self._program.loss.model()

    def loss(self, model, batch, training):
        """Add all values, and return the losses."""
        carrier = model(batch["x"], training=training)
        for keys, way in self._ways:
            carrier = way([batch[key] for key in keys], carrier)
        return self._program.loss.losses(carrier, batch), batch


def make(number: int) -> Program:
    """Return the program of this number."""
    rng = np.random.default_rng([_SEED, number])
    cut = _random_cut(rng)
    loss = random_loss(rng, is_ordered=not cut.shuffle)
    rows = sum(cut.rows)
    groups = [_random_group(rng, f"group_{i}", rows, cut.jit_compile) for i in range(GROUPS)]
    functions = [random_metric(rng, rows, _can_be_registered) for _ in range(REGISTERED)]
    keras_metrics = [random_keras_metric(rng, rows) for _ in range(KERAS)]
    registered = [
        *(Case(f"registered_{i}", "a function in Task.metrics", each) for i, each in enumerate(functions)),
        *(Case(f"keras_{i}", "a Keras metric", each) for i, each in enumerate(keras_metrics)),
    ]
    data = random_rows(rng, rows, loss.units)
    for case in (*(case for group in groups for case in group), *registered):
        data.update(case.arrays)
    return Program(number, cut, loss, groups, registered, data)


def problems(program: Program) -> dict[str, str]:
    """Run a program; return path -> what is wrong with its number, and nothing if all are right."""
    trained: dict[str, Any] = {}

    def remember(trainer, summary):
        if summary.split == "train":
            trained.update(summary.metrics)

    trainer = _trainer(program, remember)
    plain = PlainTraining(program.loss, program.data, trainer.model.get_weights())
    evaluated = trainer.train_and_eval()["test"]
    updated: list[np.ndarray] = []
    for rows in program.cut.step_rows:
        plain.record(rows)
        updated.append(rows)
        if len(updated) == program.cut.accumulation:
            plain.update(np.concatenate(updated))
            updated = []
    wanted = {
        "train": (trained, {**_numbers(program, program.train_rows, True), "loss": _near(plain.recorded)}),
        "eval": (
            evaluated,
            {**_numbers(program, program.eval_rows, False), "loss": _near(plain.evaluated(program.eval_rows))},
        ),
    }
    found = {
        f"{split}/{path}": text
        for split, (numbers, expected) in wanted.items()
        for path, text in _differences(numbers, expected).items()
    }
    weights = {"kernel": plain.kernel, "bias": plain.bias}
    return found | _differences(
        dict(zip(weights, trainer.model.get_weights(), strict=True)),
        {name: _near(each) for name, each in weights.items()},
    )


def wrong_cases(program: Program, found: Mapping[str, str]) -> list[str]:
    """Return the names of the cases that `problems` found wrong."""
    names = [*(case.name for case in program.cases), "loss", "kernel", "bias"]
    return [name for name in names if any(name in path.split("/") for path in found)]


def _trainer(program: Program, remember: Any) -> Trainer:
    cut = program.cut
    train, evaluation = (
        {name: values[rows] for name, values in program.data.items()}
        for rows in (slice(0, cut.rows[0]), slice(cut.rows[0], None))
    )
    steps = len(cut.step_rows)
    return Trainer(
        task=RandomTask(program),
        optimizer=keras.optimizers.SGD(program.loss.learning_rate),
        strategy=strategy(cut.replicas),
        train_dataset=_input(cut, train, cut.batch_sizes[0], cut.shuffle),
        eval_datasets={"test": _input(cut, evaluation, cut.batch_sizes[1], False)},
        train_steps=steps,
        summary_interval=steps,
        steps_per_loop=cut.steps_per_loop,
        gradient_accumulation=cut.accumulation,
        jit_compile=cut.jit_compile,
        actions=[remember],
    )


@functools.cache
def strategy(replicas: int) -> tf.distribute.Strategy:
    """Return the strategy of so many logical CPU devices."""
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)]) if replicas > 1 else one_device()


def _input(cut: Cut, arrays: dict[str, np.ndarray], size: int, shuffle: bool) -> Input:
    if cut.source == "arrays":
        return Input(arrays, size, shuffle=shuffle)
    return Input(lambda: tf.data.Dataset.from_tensor_slices(arrays), size, shuffle=shuffle)


def _random_cut(rng: np.random.Generator) -> Cut:
    compiled = bool(rng.random() < 0.05)
    replicas = 1 if compiled else int(rng.choice([1, 2, 3, 4], p=[0.55, 0.35, 0.06, 0.04]))
    rows = int(rng.integers(6, 25)), int(rng.integers(6, 25))
    sizes = [int(rng.integers(max(replicas, 2), 1 + min(each, 12))) for each in rows]
    return Cut(
        replicas=replicas,
        rows=rows,
        batch_sizes=(sizes[0], sizes[1]),
        epochs=int(rng.integers(1, 3)),
        accumulation=int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])),
        steps_per_loop=("auto", 1, 3)[rng.integers(3)],
        source="arrays" if compiled or rng.random() < 0.7 else "a stream",
        shuffle=bool(rng.random() < 0.3),
        jit_compile=compiled,
    )


def _random_group(rng: np.random.Generator, name: str, rows: int, compiled: bool) -> list[Case]:
    title, construct = random_construct(rng, compiled)
    found = [random_metric(rng, rows, construct.allows) for _ in range(ADDED)]
    return [Case(f"{name}_{i}", title, metric, construct) for i, metric in enumerate(found)]


def _can_be_registered(kind: Kind) -> bool:
    return kind.finisher in _REGISTERED_FINISHERS


def _registered(case: Case) -> Any:
    if isinstance(case.metric, RandomKerasMetric):
        return case.metric.tallied(case.name)

    def sums(batch, outputs):
        values = tf.cast(batch[f"{case.name}/values"], tf.float64)
        weights = batch.get(f"{case.name}/weights")
        weights = tf.ones([tf.shape(values)[0]], tf.float64) if weights is None else tf.cast(weights, tf.float64)
        weights = tf.reshape(weights, tf.concat([tf.shape(weights), [1] * (values.shape.rank - weights.shape.rank)], 0))
        weights = tf.broadcast_to(weights, tf.shape(values))
        return tf.reduce_sum(tf.math.multiply_no_nan(values, weights)), tf.reduce_sum(weights)

    return sums, case.metric.finish


def _way(group: list[Case]) -> Way:
    return group[0].how.wrap(Added({case.name: case.metric for case in group}))


def _numbers(program: Program, rows: np.ndarray, training: bool) -> dict[str, Expected]:
    return {path: each for case in program.cases for path, each in case.expected(rows, training).items()}


def _near(value: Any) -> Expected:
    return Expected(value, losses.TOLERANCE * max(1.0, float(np.abs(value).max())))


def _differences(numbers: Mapping[str, Any], expected: Mapping[str, Expected]) -> dict[str, str]:
    paths = sorted({*numbers, *expected})
    texts = {path: _difference(numbers.get(path), expected.get(path)) for path in paths}
    return {path: text for path, text in texts.items() if text}


def _difference(number: Any, expected: Expected | None) -> str:
    """Return what is wrong with a number; "" if it is right."""
    if expected is None or number is None:
        return f"expected {'nothing' if expected is None else expected.value}, got {'nothing' if number is None else number}"
    both_nan = np.isnan(number) & np.isnan(expected.value)
    is_right = both_nan | (np.abs(np.asarray(number) - expected.value) <= expected.allowed)
    return (
        ""
        if np.shape(number) == np.shape(expected.value) and is_right.all()
        else f"expected {expected.value}, got {number}"
    )
