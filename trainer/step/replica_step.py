"""One replica's share of a step: forward and backward."""

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

Gradient = tf.Tensor | tf.IndexedSlices  # the latter of an embedding


class Contribution(NamedTuple):
    """What a replica adds to a train step: sums over its examples, none of them divided yet.

    Attributes:
      gradients: position of a trainable variable -> d(sum of losses) / d(variable), dense; without the variables that
        the loss does not touch.
      loss: the `Tally` of the losses.
      packed: all tallies of the step as one vector.
      state: the replica's contribution to the new moving statistics and seeds; see `ForwardState`.
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
      accumulator: packs the metrics of the step.
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
        self.accumulator = accumulator

    def evaluate(self, batch: Any, share: ReplicaShare) -> tf.Tensor:
        """Return the packed tallies of a batch; zeros if none of its rows count (a borrowed row). Changes no state."""
        with share.active(), ForwardState().discarded(share, self._model):
            return self._run(batch, share.rows > 0)[1]

    def differentiate(
        self,
        batch: Any,
        share: ReplicaShare,
        variables: list[keras.Variable],
        scale: Callable[[tf.Tensor], tf.Tensor],
        forward_state: ForwardState,
    ) -> Contribution:
        """Return the contribution of a batch to a train step.

        Args:
          batch: this replica's examples.
          share: how many of them count, and their position in the global batch.
          variables: the variables to differentiate with respect to.
          scale: the optimizer's loss scaling.
          forward_state: captures what the forward pass would assign.
        """
        with share.active():
            with tf.GradientTape() as tape, forward_state.captured(share, self._model) as capture:
                loss, packed = self._run(batch, share.rows > 0)
                objective, unscale = _objective(loss.value, share, scale)
                state = capture.contribution()
            with forward_state.discarded(share, self._model):  # a rematerialized layer runs again, with the same seeds
                gradients = tape.gradient(objective, variables)
        found = {i: g for i, g in enumerate(gradients) if g is not None}
        return Contribution({i: _dense(unscale(g), variables[i]) for i, g in found.items()}, loss, packed, state)

    def _run(self, batch: Any, active: tf.Tensor) -> tuple[Tally, tf.Tensor]:
        with self._registry.recording() as recorder:
            losses, outputs = split_outputs(self._forward(self._model, batch))
            loss = _only_if(active, self._regularized(loss_tally(losses)))
            recorder.record_only("loss", loss, finisher("mean"))
            tallies = self._registry.compute(batch, outputs)
        return loss, self.accumulator.pack(tallies, active)

    def _regularized(self, loss: Tally) -> Tally:
        """Add the layers' regularization losses, weighted by the count: over all replicas, they count once."""
        if not self._model.losses:
            return loss
        penalty = tf.add_n([tf.cast(penalty, loss.value.dtype) for penalty in self._model.losses])
        return Tally(loss.value + penalty * tf.stop_gradient(loss.count), loss.count)


def _objective(
    loss: tf.Tensor, share: ReplicaShare, scale: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, Callable[[Gradient], tf.Tensor]]:
    """Return what to differentiate, and a function that turns its gradient into the gradient of the loss.

    A scaled loss must be of the size of a mean, or half precision would overflow sooner with larger batches. It is divided
    by the same number on all replicas, so that one scale is right for all.
    """
    if scale(loss) is loss:
        return loss, tf.convert_to_tensor
    examples = tf.cast(share.examples, loss.dtype)
    return scale(loss / examples), lambda gradient: tf.convert_to_tensor(gradient) * tf.cast(examples, gradient.dtype)


def _dense(gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
    """Return the gradient dense, of the variable's shape: sums over replicas and norms then don't depend on their number."""
    dense = tf.convert_to_tensor(gradient)
    return dense if dense.shape == variable.shape else tf.ensure_shape(dense, variable.shape)


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
