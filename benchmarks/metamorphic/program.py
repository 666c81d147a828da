"""A program: one random task of a dozen metrics, one random cut, and how its numbers compare with those of a plain pass.

A program is a function of its number alone, so a failing one is run again by its number.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tallyloop.trainer import Task, Trainer, one_device

from . import losses
from .constructs import Added, Construct, Way, random_construct
from .cuts import EVALUATION, Cut, random_cut
from .keras_metrics import RandomKerasMetric, random_keras_metric
from .losses import Loss, PlainTraining, random_loss, random_rows
from .values import Expectation, Expected, Kind, Metric, random_metric

GROUPS, ADDED, REGISTERED, KERAS = 4, 3, 1, 1  # the last three are metrics; a group has `ADDED` of them
_SEED = 20261
_REGISTERED_FINISHERS = "mean", "sum", "exp", "sqrt", "a function"
_WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Recorded:
    """One metric of a program. Its number in each summary is a case.

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
        """The arrays that are added, by keys of the data."""
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
      groups: metrics that are added together, by one construct.
      registered: metrics of the task.
      data: key -> all rows; first those of the train set.
    """

    number: int
    cut: Cut
    loss: Loss
    groups: list[list[Recorded]]
    registered: list[Recorded]
    data: Mapping[str, np.ndarray] = dataclasses.field(repr=False)

    @property
    def fed(self) -> dict[str, np.ndarray]:
        """The arrays that the batches bring."""
        if self.cut.is_fed:
            return dict(self.data)
        looked_up = {key for group in self.groups for each in group for key in each.arrays}
        return {key: rows for key, rows in self.data.items() if key not in looked_up}

    @property
    def recorded(self) -> list[Recorded]:
        """All metrics but the loss."""
        return [*(each for group in self.groups for each in group), *self.registered]

    @property
    def cases(self) -> list[str]:
        """SUMMARY/METRIC of each case, and at last the weights."""
        names = [*(each.name for each in self.recorded), "loss"]
        return [*(f"{summary}/{name}" for summary in self.cut.summaries for name in names), _WEIGHTS]


class RandomTask(Task):
    """The task of a program."""

    def __init__(self, program: Program):
        self._program = program
        self.metrics = {each.name: _registered(each) for each in program.registered}
        self._ways: list[tuple[list[str], Way]] = []

    def build_model(self):
        """Return the model, and make the layers in which values are added; they have no weights."""
        self._ways = [([key for each in group for key in each.arrays], _way(group)) for group in self._program.groups]
        return self._program.loss.model()

    def loss(self, model, batch, training):
        """Add all values, and return the losses."""
        carrier = model(batch["x"], training=training)
        values = {
            key: batch[key] if key in batch else tf.gather(rows, batch["row"])
            for key, rows in self._program.data.items()
        }
        for keys, way in self._ways:
            carrier = way([values[key] for key in keys], carrier)
        return self._program.loss.losses(carrier, batch), values


def make(number: int) -> Program:
    """Return the program of this number."""
    rng = np.random.default_rng([_SEED, number])
    cut = random_cut(rng)
    loss = random_loss(rng, is_ordered=not cut.shuffle)
    rows = sum(cut.rows)
    groups = [_random_group(rng, number * GROUPS + i, rows, cut.jit_compile) for i in range(GROUPS)]
    functions = [random_metric(rng, rows, _can_be_registered) for _ in range(REGISTERED)]
    keras_metrics = [random_keras_metric(rng, number * KERAS + i, rows) for i in range(KERAS)]
    registered = [
        *(Recorded(f"registered_{i}", "a function in Task.metrics", each) for i, each in enumerate(functions)),
        *(Recorded(f"keras_{i}", "a Keras metric", each) for i, each in enumerate(keras_metrics)),
    ]
    data = random_rows(rng, rows, loss.units)
    for each in (*(each for group in groups for each in group), *registered):
        data.update(each.arrays)
    return Program(number, cut, loss, groups, registered, data)


def problems(program: Program) -> dict[str, str]:
    """Run a program; return SUMMARY/PATH -> what is wrong with its number, and nothing if all are right."""
    written: dict[str, Mapping[str, Any]] = {}

    def remember(trainer, summary):
        written[f"train_{summary.step}" if summary.split == "train" else EVALUATION] = summary.metrics

    trainer = _trainer(program, remember)
    plain = PlainTraining(program.loss, program.data, trainer.model.get_weights())
    run = trainer.train_and_eval if program.cut.evaluates else trainer.train
    run()
    wanted = _wanted(program, plain)
    written[_WEIGHTS] = dict(zip(("kernel", "bias"), trainer.model.get_weights(), strict=True))
    return {
        f"{summary}/{path}": text
        for summary in sorted({*wanted, *written})
        for path, text in _differences(written.get(summary, {}), wanted.get(summary, {})).items()
    }


def wrong_cases(program: Program, found: Mapping[str, str]) -> list[str]:
    """Return the cases that `problems` found wrong."""
    return [case for case in program.cases if any(_belongs(path, case) for path in found)]


def _belongs(path: str, case: str) -> bool:
    summary, *rest = path.split("/")
    return summary == case or any(f"{summary}/{name}" == case for name in rest)


def _wanted(program: Program, plain: PlainTraining) -> dict[str, dict[str, Expected]]:
    """Return summary -> path -> number, and those of the weights; `plain` is trained on the way."""
    wanted: dict[str, dict[str, Expected]] = {}
    accumulated: list[np.ndarray] = []
    for summary, steps in zip(program.cut.summaries, program.cut.train_rows, strict=False):
        for rows in steps:
            plain.record(rows)
            accumulated.append(rows)
            if len(accumulated) == program.cut.accumulation:
                plain.update(np.concatenate(accumulated))
                accumulated = []
        numbers = _numbers(program, np.concatenate(steps), True)
        rate = _near(program.loss.learning_rate)
        wanted[summary] = {**numbers, "loss": _near(plain.take_recorded()), "learning_rate": rate}
    if program.cut.evaluates:
        plain.record(program.cut.eval_rows)
        numbers = _numbers(program, program.cut.eval_rows, False)
        wanted[EVALUATION] = {**numbers, "loss": _near(plain.take_recorded())}
    return {**wanted, _WEIGHTS: {"kernel": _near(plain.kernel), "bias": _near(plain.bias)}}


def _trainer(program: Program, remember: Any) -> Trainer:
    cut = program.cut
    train, evaluation = cut.inputs(program.fed)
    return Trainer(
        task=RandomTask(program),
        optimizer=keras.optimizers.SGD(program.loss.learning_rate),
        strategy=strategy(cut.replicas),
        train_dataset=train,
        eval_datasets={"test": evaluation},
        train_steps=cut.steps,
        summary_interval=cut.interval,
        eval_interval=cut.steps,
        steps_per_loop=cut.steps_per_loop,
        gradient_accumulation=cut.accumulation,
        jit_compile=cut.jit_compile,
        actions=[remember],
    )


@functools.cache
def strategy(replicas: int) -> tf.distribute.Strategy:
    """Return the strategy of so many logical CPU devices."""
    return tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)]) if replicas > 1 else one_device()


def _random_group(rng: np.random.Generator, number: int, rows: int, compiled: bool) -> list[Recorded]:
    title, construct = random_construct(rng, number, compiled)
    found = [random_metric(rng, rows, construct.allows) for _ in range(ADDED)]
    return [Recorded(f"group_{number % GROUPS}_{i}", title, metric, construct) for i, metric in enumerate(found)]


def _can_be_registered(kind: Kind) -> bool:
    return kind.finisher in _REGISTERED_FINISHERS


def _registered(recorded: Recorded) -> Any:
    if isinstance(recorded.metric, RandomKerasMetric):
        return recorded.metric.tallied(recorded.name)

    def sums(batch, outputs):
        values = tf.cast(outputs[f"{recorded.name}/values"], tf.float64)
        weights = outputs.get(f"{recorded.name}/weights")
        weights = tf.ones([tf.shape(values)[0]], tf.float64) if weights is None else tf.cast(weights, tf.float64)
        weights = tf.reshape(weights, tf.concat([tf.shape(weights), [1] * (values.shape.rank - weights.shape.rank)], 0))
        weights = tf.broadcast_to(weights, tf.shape(values))
        return tf.reduce_sum(tf.math.multiply_no_nan(values, weights)), tf.reduce_sum(weights)

    return sums, recorded.metric.finish


def _way(group: list[Recorded]) -> Way:
    return group[0].how.wrap(Added({each.name: each.metric for each in group}))


def _numbers(program: Program, rows: np.ndarray, training: bool) -> dict[str, Expected]:
    return {path: each for metric in program.recorded for path, each in metric.expected(rows, training).items()}


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
