"""One replica's share of a step: forward, and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.device.accumulator import Accumulator
from ...metrics.finishers.finish import finisher
from ...metrics.registry import MetricRegistry
from ...metrics.tally import Tally
from ..task import loss_tally, split_outputs
from .forward_state import ForwardState


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

    def evaluate(self, batch: Any, share: ReplicaShare) -> tf.Tensor:
        """Returns the packed tallies of a batch; zeros if none of its rows count (a borrowed row). Changes no state."""
        with share.active(), ForwardState().dropped(share, self._model):
            return self._run(batch, share.rows > 0)[1]

    def differentiate(
        self,
        batch: Any,
        share: ReplicaShare,
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
        with share.active():
            with tf.GradientTape() as tape, forward_state.taken(share, self._model) as taking:
                loss, packed = self._run(batch, share.rows > 0)
                objective, unscale = _objective(loss.value, share, scale)
                state = taking.contribution()
            with forward_state.dropped(share, self._model):  # a rematerialised layer runs again, with the same seeds
                gradients = tape.gradient(objective, variables)
        found = {i: g for i, g in enumerate(gradients) if g is not None}
        return Contribution({i: _dense(unscale(g), variables[i]) for i, g in found.items()}, loss, packed, state)

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


def _objective(
    loss: tf.Tensor, share: ReplicaShare, scale: Callable
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """What is differentiated, and what makes its gradient that of the loss.

    A scaled loss must have the size of a mean, or half precision would overflow the sooner the larger the batch; divided by
    the same number on all replicas, so that one scale is right for all.
    """
    if scale(loss) is loss:
        return loss, tf.convert_to_tensor
    examples = tf.cast(share.examples, loss.dtype)
    return scale(loss / examples), lambda gradient: tf.convert_to_tensor(gradient) * tf.cast(examples, gradient.dtype)


def _dense(gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
    """With one row a row, so that a sum over replicas and its norm do not depend on their number; of the variable's shape."""
    dense = tf.convert_to_tensor(gradient)
    return dense if dense.shape == variable.shape else tf.ensure_shape(dense, variable.shape)


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
