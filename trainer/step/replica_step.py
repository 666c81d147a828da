"""One replica's share of a step: forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.device.accumulator import Accumulator
from ...metrics.registry import MetricRegistry
from ...metrics.tally import Tally
from ..task import split_outputs
from ..user_code import called_as, returned_by
from .forward_state import ForwardState
from .objective import Term, check_rows, check_some, check_variables, objective_terms, recorded_loss

Gradient = tf.Tensor | tf.IndexedSlices  # the latter of an embedding


class Contribution(NamedTuple):
    """What a replica adds to a train step: sums over its examples, none of them divided yet.

    Attributes:
      terms: the objective is the sum of their means.
      packed: all tallies of the step as one vector.
      state: the replica's contribution to the new moving statistics and seeds; see `ForwardState`.
    """

    terms: list[Term]
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
        with share.active(), ForwardState().discarded(share, self._model), self._registry.recording() as recorder:
            terms, outputs = self._terms(batch, share)
            recorder.record_only("loss", *recorded_loss(terms))
            return self._packed(batch, outputs, share)

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
        with share.active(), self._registry.recording() as recorder:
            with tf.GradientTape(persistent=True) as tape, forward_state.captured(share, self._model) as capture:
                terms, outputs = self._terms(batch, share)
                objectives = [_objective(term.value, share, scale) for term in terms]
                state = capture.contribution()
            with forward_state.discarded(share, self._model):  # a rematerialized layer runs again, with the same seeds
                with returned_by(self._forward):
                    check_variables(tape, [objective for objective, _ in objectives], self._model, capture.read())
                    gradients = [_gradients(tape, *each, variables) for each in objectives]
                    check_some(gradients, variables)
                recorder.record_only("loss", *recorded_loss(terms))
                packed = self._packed(batch, outputs, share)  # what the backward pass recorded, too
        return Contribution([Term(*each) for each in zip(gradients, terms, strict=True)], packed, state)

    def _terms(self, batch: Any, share: ReplicaShare) -> tuple[list[Tally], Any]:
        """Return the terms of the objective, and the outputs."""
        with called_as(self._forward, "(model, batch, training)"):
            result = self._forward(self._model, batch)
        with returned_by(self._forward):
            losses, outputs = split_outputs(result)
            terms = objective_terms(losses, self._model, share)
            # Afterwards, as it calls the model again: the penalties are those of the last call.
            check_rows(losses, batch, partial(self._losses_of, share))
        return [_only_if(share.rows > 0, term) for term in terms], outputs

    def _losses_of(self, share: ReplicaShare, batch: Any) -> Any:
        """Return the losses of another batch, in a graph of its own, whose state is not that of the step."""
        with ForwardState().discarded(share, self._model):
            return split_outputs(self._forward(self._model, batch))[0]

    def _packed(self, batch: Any, outputs: Any, share: ReplicaShare) -> tf.Tensor:
        return self.accumulator.pack(self._registry.compute(batch, outputs), share.rows > 0)


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


def _gradients(
    tape: tf.GradientTape,
    objective: tf.Tensor,
    unscale: Callable[[Gradient], tf.Tensor],
    variables: list[keras.Variable],
) -> dict[int, tf.Tensor]:
    found = {i: g for i, g in enumerate(tape.gradient(objective, variables)) if g is not None}
    return {i: _dense(unscale(gradient), variables[i]) for i, gradient in found.items()}


def _dense(gradient: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
    """Return the gradient dense, of the variable's shape: sums over replicas and norms then don't depend on their number."""
    dense = tf.convert_to_tensor(gradient)
    return dense if dense.shape == variable.shape else tf.ensure_shape(dense, variable.shape)


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
