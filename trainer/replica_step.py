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
from .forward_state import ForwardState
from .share import Share, working_on
from .task import loss_tally, split_outputs


class Contribution(NamedTuple):
    """What a replica adds to a train step: sums over its examples, none of them divided yet.

    Attributes:
      gradients: position of a trainable variable -> d(sum of losses) / d(variable), dense; without the variables that
        the loss does not touch.
      loss: the `Tally` of the losses.
      packed: all tallies of the step as one vector.
      state: what the replica adds to the new moving statistics and seeds; see `ForwardState`.
    """

    gradients: dict[int, tf.Tensor]
    loss: Tally
    packed: tf.Tensor
    state: list[tf.Tensor]


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
        self,
        batch: Any,
        share: Share,
        variables: list,
        scale: Callable[[tf.Tensor], tf.Tensor],
        forward_state: ForwardState,
    ) -> Contribution:
        """Returns the contribution of a batch to a train step.

        Args:
          batch: this replica's examples.
          share: how many of them count, and where they stand in the global batch.
          variables: what to differentiate by.
          scale: the optimizer's loss scaling.
          forward_state: takes what the forward pass would assign.
        """
        with tf.GradientTape() as tape, working_on(share), forward_state.taken(share, self._model) as taking:
            loss, packed = self._run(batch, share.rows > 0)
            objective = scale(loss.value)
            state = taking.contribution()
        gradients = tape.gradient(objective, variables)
        # Dense, so that the sum over replicas has one row a row, and its norm does not depend on their number.
        dense = {i: tf.convert_to_tensor(g) for i, g in enumerate(gradients) if g is not None}
        return Contribution(dense, loss, packed, state)

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
        penalty = tf.add_n([tf.cast(penalty, loss.value.dtype) for penalty in self._model.losses])
        return Tally(loss.value + penalty * tf.stop_gradient(loss.count), loss.count)


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
