"""One replica's share of a step: forward and backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.device.accumulator import Accumulator
from ...metrics.recording.recorder import Recorder, recording_into
from ...metrics.registry import MetricRegistry
from ...metrics.tally import Tally
from ..model.embeddings import rows_looked_up
from ..task import TaskLosses
from ..user_code import called_as, returned_by
from .forward_state import ForwardState
from .gradients import Gradient, changed, of_variable
from .objective import (
    Term,
    check_rows,
    check_some,
    check_variables,
    named,
    objective_terms,
    recorded_loss,
    touching,
)

Scale = Callable[[tf.Tensor], tf.Tensor]  # an optimizer's loss scaling


class Contribution(NamedTuple):
    """The contribution of a replica to a train step: sums over its examples, none of them divided yet.

    Attributes:
      terms: name of a loss -> the terms of its objective, which is the sum of their means.
      packed: all tallies of the step as one vector.
      state: the replica's contribution to the new moving statistics and seeds; see `ForwardState`.
    """

    terms: dict[str, list[Term]]
    packed: tf.Tensor
    state: list[tf.Tensor]


class ReplicaStep:
    """Runs the task's forward pass on one replica's examples and collects the tallies.

    Args:
      losses: the names of the task's losses, and the variables of its model that they train.
      forward: `Task.train_step` or `Task.eval_step`.
      registry: collects the metrics.
      accumulator: packs the metrics of the step.
      by_rows: name of a loss -> the positions of the variables whose gradient may be given by its rows.
      in_xla: whether what happens to the gradients is compiled by XLA, too.
    """

    def __init__(
        self,
        losses: TaskLosses,
        forward: Callable[[keras.Model, Any], Any],
        registry: MetricRegistry,
        accumulator: Accumulator,
        by_rows: Mapping[str, frozenset[int]] | None = None,
        in_xla: bool = False,
    ):
        self._losses = losses
        self.model: keras.Model = losses.model
        self._forward = forward
        self._registry = registry
        self.accumulator = accumulator
        self._by_rows = by_rows or {}
        self._in_xla = in_xla

    def lookups(self) -> contextlib.AbstractContextManager[None]:
        """Return a context for whatever runs this on the replicas: large embeddings are not read as a whole inside."""
        return rows_looked_up(self.model)

    def evaluate(self, batch: Any, share: ReplicaShare) -> tf.Tensor:
        """Return the packed tallies of a batch; zeros if none of its rows count (a borrowed row). Changes no state."""
        # The tape only serves to see which of several losses a penalty belongs to.
        tape = tf.GradientTape(persistent=True) if self._losses.several else None
        with share.active(), ForwardState().discarded(share, self.model), self._registry.recording() as recorder:
            with tape or contextlib.nullcontext():
                terms, outputs = self._terms(batch, share, tape)
            _record_losses(recorder, terms)
            return self._packed(batch, outputs, share)

    def differentiate(
        self,
        batch: Any,
        share: ReplicaShare,
        scale_of: Callable[[str], Scale],
        forward_state: ForwardState,
    ) -> Contribution:
        """Return the contribution of a batch to a train step.

        Args:
          batch: this replica's examples.
          share: how many of them count, and their position in the global batch.
          scale_of: name of a loss -> the loss scaling of its optimizer.
          forward_state: captures what the forward pass would assign.
        """
        with share.active(), self._registry.recording() as recorder:
            with tf.GradientTape(persistent=True) as tape, forward_state.captured(share, self.model) as capture:
                terms, outputs = self._terms(batch, share, tape)
                objectives = {
                    name: [_objective(term.value, share, scale_of(name)) for term in each]
                    for name, each in terms.items()
                }
                state = capture.contribution()
            with forward_state.discarded(share, self.model):  # a rematerialized layer runs again, with the same seeds
                with returned_by(self._forward):
                    differentiated = [objective for each in objectives.values() for objective, _ in each]
                    check_variables(tape, differentiated, self.model, capture.read())
                    gradients = {name: self._gradients(tape, name, each) for name, each in objectives.items()}
                _record_losses(recorder, terms)
                packed = self._packed(batch, outputs, share)  # what the backward pass recorded, too
        sums = {name: [Term(*each) for each in zip(gradients[name], terms[name], strict=True)] for name in terms}
        return Contribution(sums, packed, state)

    def _terms(
        self, batch: Any, share: ReplicaShare, tape: tf.GradientTape | None
    ) -> tuple[dict[str, list[Tally]], Any]:
        """Return the terms of each loss's objective, and the outputs."""
        with called_as(self._forward, "(model, batch)"):
            result = self._forward(self.model, batch)
        with returned_by(self._forward):
            losses, outputs = self._losses.split(result)
            penalties = self._penalties(list(losses), share, tape)
            terms = {}
            for name, each in losses.items():
                with named(name):
                    terms[name] = objective_terms(each, penalties[name], share)
            # Afterwards, as it calls the model again: the penalties are those of the last call.
            for name, each in losses.items():
                with named(name):
                    check_rows(each, batch, partial(self._losses_of, share, name))
        return {name: [_only_if(share.rows > 0, term) for term in each] for name, each in terms.items()}, outputs

    def _penalties(
        self, names: list[str], share: ReplicaShare, tape: tf.GradientTape | None
    ) -> dict[str, list[tf.Tensor]]:
        """Return the penalties of the layers by the name of the loss that they belong to."""
        penalties = self.model.losses
        if not self._losses.several or not penalties:
            return dict.fromkeys(names, penalties)
        trained = {name: self._losses.variables(name) for name in names}
        assert tape is not None, "the tape of several losses"
        # A rematerialized layer would run again, and record its metrics again.
        with tape.stop_recording(), ForwardState().discarded(share, self.model), recording_into(Recorder()):
            return touching(tape, penalties, trained)

    def _gradients(
        self, tape: tf.GradientTape, name: str, objectives: list[tuple[tf.Tensor, Callable[[Gradient], Gradient]]]
    ) -> list[dict[int, Gradient]]:
        variables = self._losses.variables(name)
        by_rows = self._by_rows.get(name, frozenset())

        def of(objective: tf.Tensor, unscale: Callable[[Gradient], Gradient]) -> dict[int, Gradient]:
            found = {i: unscale(g) for i, g in enumerate(tape.gradient(objective, variables)) if g is not None}
            return {i: of_variable(g, variables[i], i in by_rows, self._in_xla) for i, g in found.items()}

        gradients = [of(*each) for each in objectives]
        check_some(name, gradients, variables)
        return gradients

    def _losses_of(self, share: ReplicaShare, name: str, batch: Any) -> Any:
        """Return the losses of another batch, in a graph of its own, whose state is not that of the step."""
        with ForwardState().discarded(share, self.model):
            return self._losses.split(self._forward(self.model, batch))[0][name]

    def _packed(self, batch: Any, outputs: Any, share: ReplicaShare) -> tf.Tensor:
        return self.accumulator.pack(self._registry.compute(batch, outputs), share.rows > 0)


def _record_losses(recorder: Recorder, terms: dict[str, list[Tally]]) -> None:
    for name, each in terms.items():
        recorder.record_only(f"loss/{name}" if name else "loss", *recorded_loss(each))


def _objective(loss: tf.Tensor, share: ReplicaShare, scale: Scale) -> tuple[tf.Tensor, Callable[[Gradient], Gradient]]:
    """Return what to differentiate, and a function that turns its gradient into the gradient of the loss.

    A scaled loss must be of the size of a mean, or half precision would overflow sooner with larger batches. It is divided
    by the same number on all replicas, so that one scale is right for all.
    """
    if scale(loss) is loss:
        return loss, lambda gradient: gradient
    examples = tf.cast(share.examples, loss.dtype)
    return scale(loss / examples), lambda gradient: changed(gradient, lambda each: each * tf.cast(examples, each.dtype))


def _only_if(active: tf.Tensor, tally: Tally) -> Tally:
    return Tally(*(tf.where(active, part, tf.zeros_like(part)) for part in tally))
