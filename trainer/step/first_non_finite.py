"""Where a number first became NaN or infinite: a replica's step is run once more, eagerly, and watched layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...data.checks import map_arrays
from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ...metrics.recording.recorder import Recorder, recording_into
from ...metrics.tally import Tally
from ..task import SumOfMeans, TaskLosses
from .batches import StoppedBatch, fetch_one
from .forward_state import ForwardState
from .objective import objective_terms
from .watching import Output, Shard, own_shards, watched

_ROWS_NAMED = 8
_BETWEEN_LAYERS = (
    "its inputs came from an operation between the layers, or from the task's code, and were not finite either"
)


def first_non_finite(
    strategy: tf.distribute.Strategy,
    feed: Feed,
    losses: TaskLosses,
    forward: Callable[[keras.Model, Any], Any],
    steps: range,
    stopped: StoppedBatch,
) -> str:
    """Describe where the first number that is NaN or infinite comes from, in some steps of this process's replicas.

    A stream cannot read a batch again: of its steps, the last one is looked at.

    Args:
      strategy: the replicas.
      feed: the train batches.
      losses: those of the task; its model has the weights before the steps.
      forward: `Task.train_step`.
      steps: those of one update.
      stopped: keeps the batch of the last of them.
    """
    is_stream = feed.num_examples is None
    fetched = iter([stopped.take()]) if is_stream else (_fetch_again(feed, step) for step in steps)
    try:
        shards = (own_shards(strategy, feed, *each) for each in fetched)
        found = next(filter(None, (first_in_batch(each, losses, forward) for each in shards)), None)
    except Exception as error:  # such as a layer that only runs in a graph; the run has failed already, and says why
        return (
            f"Where that began is not known: run once more, eagerly, the step raised {type(error).__name__}: {error}."
        )
    if found is None and is_stream and len(steps) > 1:
        return (
            f"Run once more, eagerly, all numbers of step {steps[-1] + 1} on this process's replicas were finite: the "
            "cause is in an earlier step of the update, whose batch the stream cannot read again, or in the compiled step."
        )
    if found is None:
        return (
            "Run once more, eagerly, all numbers of this process's replicas were finite: the cause is in the compiled step, or "
            "in a sum that is too large: of the replicas' gradients, or of their squares for Trainer.clip_global_norm."
        )
    return f"Run once more, eagerly, the first such number was in {found}."


def _fetch_again(feed: Feed, step: int) -> tuple[Any, tf.Tensor]:
    feed.seek(step)
    return fetch_one(feed, step)


def first_in_batch(
    shards: Iterable[Shard], losses: TaskLosses, forward: Callable[[keras.Model, Any], Any]
) -> str | None:
    """Describe where in a batch the first number that is NaN or infinite comes from; None if all are finite.

    Args:
      shards: those of this process's replicas.
      losses: as in `first_non_finite`.
      forward: likewise.
    """
    for batch, share, replicas in shards:
        if (found := _of_replica(losses, forward, batch, share)) is not None:
            return found if replicas == 1 else f"replica {int(share.replica)}, in {found}"
    return None


def _of_replica(
    task_losses: TaskLosses, forward: Callable[[keras.Model, Any], Any], batch: Any, share: ReplicaShare
) -> str | None:
    """Return the first in the order of the computation: weights, layers, losses, gradients from the last layer to the first."""
    model = task_losses.model
    for variable in model.weights:
        if (what := bad_numbers(variable.value)) is not None:
            return f"the weight {variable.path} before the step ({what})"
    with share.active(), recording_into(Recorder()), ForwardState().discarded(share, model):
        with tf.GradientTape(persistent=True) as tape, watched(*task_losses.models) as outputs:
            losses, _ = task_losses.split(forward(model, batch))
            penalties = model.losses
            terms = {name: objective_terms(each, penalties, share) for name, each in losses.items()}
            objectives = {name: tf.add_n([term.value for term in each]) for name, each in terms.items()}
        backward = (
            _of_backward(tape, objective, outputs, task_losses.variables(name))
            for name, objective in objectives.items()
        )
        return _of_forward(outputs, losses, batch) or next(filter(None, backward), None)


def _of_forward(outputs: list[Output], losses: dict[str, Any], batch: Any) -> str | None:
    given = _of_batch(batch)
    for output in outputs:
        for tensor in output.tensors:
            if (what := bad_numbers(tensor)) is not None:
                fed = "its inputs and weights were finite" if output.fed else given or _BETWEEN_LAYERS
                return f"the output of layer {output.layer!r} ({what}); {fed}"
    for name, tensor in (part for each in losses.items() for part in _parts(*each)):
        if (what := bad_numbers(tensor)) is not None:
            return f"the task's {name} ({what}); {given or 'the outputs of all layers were finite'}"
    return None


def _parts(name: str, losses: Any) -> list[tuple[str, tf.Tensor]]:
    if isinstance(losses, SumOfMeans):
        return [part for each in losses.parts for part in _parts(name, each)]
    of = f" {name!r}" if name else ""
    if isinstance(losses, Tally):
        return [(f"sum of losses{of}", losses.value), (f"count of losses{of}", losses.count)]
    return [(f"losses{of}", tf.convert_to_tensor(losses))]


def _of_batch(batch: Any) -> str | None:
    found: list[str] = []

    def note(name: str, tensor: tf.Tensor) -> None:
        if (what := bad_numbers(tensor)) is not None:
            found.append(
                f"the batch had {name!r} not finite ({what})" if name else f"the batch was not finite ({what})"
            )

    map_arrays(note, batch)
    return found[0] if found else None


def _of_backward(
    tape: tf.GradientTape, objective: tf.Tensor, outputs: list[Output], trained: list[keras.Variable]
) -> str | None:
    named = {
        id(tensor): (f"output of layer {each.layer!r}", tensor) for each in outputs[::-1] for tensor in each.tensors
    }
    places = list(
        named.values()
    )  # from the last to the first; an outer layer may return what an inner one has returned
    places += [(f"weight {variable.path}", variable.value) for variable in reversed(trained)]
    gradients = tape.gradient(objective, [tensor for _, tensor in places])
    for (name, _), gradient in zip(places, gradients, strict=True):
        if gradient is not None and (what := bad_numbers(tf.convert_to_tensor(gradient))) is not None:
            return f"the gradient by the {name} ({what}); the losses and the outputs of all layers were finite"
    return None


def bad_numbers(tensor: Any) -> str | None:
    """Return how many numbers are NaN or infinite, and in which rows; None if all are finite."""
    found = np.asarray(tensor)
    if not np.issubdtype(found.dtype, np.inexact) and found.dtype.kind != "V":  # bfloat16 is of kind V
        return None
    bad = ~np.isfinite(found.astype(np.float64))
    if not bad.any():
        return None
    kinds = [f"{count} {name}" for name, count in _kinds(found.astype(np.float64)) if count]
    where = ""
    if found.ndim:
        rows = np.flatnonzero(bad.reshape(len(bad), -1).any(1)).tolist()
        where = f" in rows {rows[:_ROWS_NAMED]}{' and more' if len(rows) > _ROWS_NAMED else ''}"
    return f"{' and '.join(kinds)} of {found.size} numbers{where}, shape {found.shape}"


def _kinds(found: np.ndarray) -> list[tuple[str, int]]:
    return [("NaN", int(np.isnan(found).sum())), ("infinite", int(np.isinf(found).sum()))]
