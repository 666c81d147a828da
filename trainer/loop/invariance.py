"""Checks on a task's own data that its numbers do not depend on how the data is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ...data import Input
from ...data.feeds.feed import Feed, cut
from ...metrics.device.accumulator import Accumulator
from ...metrics.errors import UsageError
from ...metrics.registry import MetricRegistry
from ..model.layers import build_model
from ..step.batches import fetch_one
from ..step.forward_state import ForwardState
from ..step.objective import mean_gradients
from ..step.replica import run_on_shards
from ..step.replica_step import ReplicaStep
from ..task import Task, TaskLosses, call_loss
from .evaluation import Evaluation

REPLICAS = 3
_HINT = (
    "it depends on how the batch is cut. Most likely it is a mean of batch means: add the values themselves "
    "(metrics.add(name, values, weights)), and return one loss per example. Or a (batch, 1) array minus a (batch,) array, which "
    "compares each example with every other one: give both one shape."
)


class Comparison(NamedTuple):
    """One number, computed on one replica and on three.

    Attributes:
      name: "eval/NAME/METRIC", or "gradient/VARIABLE" (the norm).
      one: on one replica; NaN if it is missing there.
      cut: on three replicas, one of them empty; NaN if it is missing there.
      same: whether they agree up to rounding.
      hint: what to do if they do not.
    """

    name: str
    one: float
    cut: float
    same: bool
    hint: str


class RaggedFeed:
    """A feed that is cut unevenly: two thirds for the first replica, nothing for the second, the rest for the third."""

    def __init__(self, feed: Feed):
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def shard(self, part: Any, n: tf.Tensor, index: tf.Tensor, count: int) -> tuple[Any, tf.Tensor]:
        """Do what `Feed.shard` does, with the bounds above."""
        assert count == REPLICAS
        whole = self._feed.shard(part, n, 0, 1)[0]
        edges = self._edges(n)
        rows = edges[index + 1] - edges[index]
        begin = tf.minimum(edges[index], tf.maximum(n, 1) - 1)  # an empty share borrows an example
        return tf.nest.map_structure(lambda tensor: cut(tensor, begin, tf.maximum(rows, 1)), whole), rows

    def first(self, n: tf.Tensor, index: tf.Tensor, count: int) -> tf.Tensor:
        """Do what `Feed.first` does."""
        return self._edges(n)[index]

    def _edges(self, n: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.zeros_like(n), (2 * n + 2) // 3, (2 * n + 2) // 3, n])


def compare(task: Task, weights: keras.Model, train: Input | None, evals: Mapping[str, Input]) -> list[Comparison]:
    """Evaluate each eval dataset, and the gradient of one train batch, on one replica and on three uneven ones.

    Args:
      task: the task to check.
      weights: a built model of the task; its weights are used.
      train: the train data, or None.
      evals: name -> eval data.

    Returns:
      One comparison per metric and per trainable variable.

    Raises:
      UsageError: there are too few devices, or nothing to compare.
    """
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(cpus) < REPLICAS:
        raise UsageError(
            f"Checking needs {REPLICAS} CPU devices, and there are {len(cpus)}: --virtual_cpus={REPLICAS}."
        )
    if not evals and train is None:
        raise UsageError("There is nothing to check: bind Trainer.eval_datasets or Trainer.train_dataset.")
    one = _Side(task, weights, tf.distribute.OneDeviceStrategy(cpus[0]), lambda feed: feed, train, evals)
    cut = _Side(task, weights, tf.distribute.MirroredStrategy(cpus[:REPLICAS]), RaggedFeed, train, evals)
    tolerance = 1e-5 if weights.compute_dtype == "float32" else 2e-2
    found = _pair(one.metrics(), cut.metrics(), tolerance)
    if train is not None:
        gradients = [side.gradients() for side in (one, cut)]
        for i, variable in enumerate(weights.trainable_variables):
            if i in gradients[0]:
                found.append(_gradient(f"gradient/{variable.path}", gradients[0][i], gradients[1][i], tolerance))
    return found


class _Side:
    """The task under one strategy and one way of cutting."""

    def __init__(self, task, weights, strategy, cutting, train, evals):
        self._task, self._strategy, self._cutting, self._train, self._evals = task, strategy, cutting, train, evals
        datasets = [each for each in (train, *evals.values()) if each is not None]
        self._model = build_model(task, strategy, datasets[0])
        for mine, given in zip(self._model.variables, weights.variables, strict=True):
            mine.assign(given.numpy())

    def metrics(self) -> dict[str, float]:
        feeds = {name: self._cutting(dataset.open_eval()) for name, dataset in self._evals.items()}
        found = {}
        for name, summary in Evaluation(self._task, self._model, self._strategy, feeds).run(0).items():
            for path, value in summary.metrics.items():
                for place, number in np.ndenumerate(value):
                    found[f"eval/{name}/{path}" + "".join(f"[{i}]" for i in place)] = float(number)
        return found

    def gradients(self) -> dict[int, np.ndarray]:
        """Return d(mean loss) / d(variable) of the first train batch, by position of the variable, without dropout."""
        registry = MetricRegistry(self._task.metrics)
        losses = TaskLosses(self._task, self._model)
        step = ReplicaStep(losses, self._forward, registry, Accumulator(self._strategy, registry.layout))
        feed = self._cutting(self._train.open_train())

        def contribution(batch, share):
            return step.differentiate(batch, share, lambda name: lambda loss: loss, ForwardState()).terms

        @tf.function(autograph=False)
        def whole():
            sums = run_on_shards(self._strategy, feed, *fetch_one(feed, 0), contribution)
            reduced = self._strategy.reduce(tf.distribute.ReduceOp.SUM, sums, axis=None)
            return {name: mean_gradients(terms, in_xla=False) for name, terms in reduced.items()}

        positions = {id(variable): i for i, variable in enumerate(self._model.trainable_variables)}
        return {
            positions[id(losses.variables(name)[i])]: tf.convert_to_tensor(gradient).numpy()
            for name, gradients in whole().items()
            for i, gradient in gradients.items()
        }

    def _forward(self, model: keras.Model, batch: Any) -> Any:
        """Run the train step; in eval mode unless the task has its own, as dropout and BatchNorm see only a replica's rows."""
        if type(self._task).train_step is not Task.train_step:
            return self._task.train_step(model, batch)
        return call_loss(self._task, model, batch, training=False)


def _pair(one: Mapping[str, float], cut: Mapping[str, float], tolerance: float) -> list[Comparison]:
    found = []
    for name in sorted(one.keys() | cut.keys()):
        a, b = one.get(name, float("nan")), cut.get(name, float("nan"))
        same = (name in one) == (name in cut) and bool(np.isclose(a, b, rtol=tolerance, atol=1e-7, equal_nan=True))
        found.append(Comparison(name, a, b, same, "" if same else f"{name}: {_HINT}"))
    return found


def _gradient(name: str, one: np.ndarray, cut: np.ndarray, tolerance: float) -> Comparison:
    """Compare element by element, relative to the largest; show norms."""
    same = bool(np.abs(one - cut).max(initial=0.0) <= 10 * tolerance * np.abs(one).max(initial=0.0) + 1e-7)
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(cut))
    return Comparison(name, *norms, same, "" if same else f"{name}: {_HINT}")
