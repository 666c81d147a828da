"""One replica's share of a step: forward, and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ..metrics.accumulator import Accumulator
from ..metrics.finish import finisher
from ..metrics.registry import MetricRegistry
from ..metrics.tally import Tally
from .task import loss_tally, split_outputs


class Contribution(NamedTuple):
    """What a replica adds to a train step: sums over its examples, none of them divided yet.

    Attributes:
      gradients: position of a trainable variable -> d(sum of losses) / d(variable), dense; without the variables that
        the loss does not touch.
      loss: the `Tally` of the losses.
      packed: all tallies of the step as one vector.
    """

    gradients: dict[int, tf.Tensor]
    loss: Tally
    packed: tf.Tensor


class ReplicaStep:
    """Runs the task's forward pass on one replica's examples and collects the tallies.

    Args:
      model: the task's model.
      forward: `Task.train_step` or `Task.eval_step`.
      registry: collects the metrics.
      accumulator: whose vector they are packed for.
    """

    def __init__(
        self,
        model: keras.Model,
        forward: Callable[[keras.Model, Any], Any],
        registry: MetricRegistry,
        accumulator: Accumulator,
    ):
        self._model = model
        self._forward = forward
        self._registry = registry
        self._accumulator = accumulator

    def evaluate(self, batch: Any, rows: tf.Tensor) -> tf.Tensor:
        """Returns the packed tallies of a batch; zeros if none of its rows count (a borrowed row)."""
        return self._run(batch, rows > 0)[1]

    def differentiate(
        self, batch: Any, rows: tf.Tensor, variables: list, scale: Callable[[tf.Tensor], tf.Tensor]
    ) -> Contribution:
        """Returns the contribution of a batch to a train step.

        Args:
          batch: this replica's examples.
          rows: how many of them count: all, or 0.
          variables: what to differentiate by.
          scale: the optimizer's loss scaling.
        """
        with tf.GradientTape() as tape:
            loss, packed = self._run(batch, rows > 0)
            objective = scale(loss.value)
        gradients = tape.gradient(objective, variables)
        # Dense, so that the sum over replicas has one row a row, and its norm does not depend on their number.
        dense = {i: tf.convert_to_tensor(g) for i, g in enumerate(gradients) if g is not None}
        return Contribution(dense, loss, packed)

    def _run(self, batch: Any, active: tf.Tensor) -> tuple[Tally, tf.Tensor]:
        with self._registry.recording() as recorder:
            losses, outputs = split_outputs(self._forward(self._model, batch))
            loss = _only_if(active, self._regularized(loss_tally(losses)))
            recorder.record_only("loss", loss, finisher("mean"))
            tallies = self._registry.compute(batch, outputs)
        return loss, self._accumulator.pack(tallies, active)

    def _regularized(self, loss: Tally) -> Tally:
        """Adds the layers' regularisation losses, weighted by the count: over all replicas, they count once."""
        if not self._model.losses:
            return loss
        penalty = tf.add_n([tf.cast(penalty, tf.float32) for penalty in self._model.losses])
        return Tally(loss.value + penalty * tf.stop_gradient(loss.count), loss.count)


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
