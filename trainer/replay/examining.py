"""What an eager forward pass shows of a batch: the loss of each example, and what each layer returns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...metrics.recording.recorder import Recorder, recording_into
from ...metrics.tally import Tally
from ..step.forward_state import ForwardState
from ..step.watching import Output, Shard, watched
from ..task import SumOfMeans, TaskLosses

Forward = Callable[[keras.Model, Any], Any]


class LayerOutput(NamedTuple):
    """The output of a layer on a replica; the statistics are those of its finite numbers, NaN if there is none.

    Attributes:
      layer: its path, or its name.
      replica: the number of the replica.
      shape: of the output.
      mean: of all numbers.
      std: their standard deviation.
      min: the least.
      max: the greatest.
      zeros: the share of numbers that are 0.
      non_finite: the number of those that are NaN or infinite.
    """

    layer: str
    replica: int
    shape: tuple[int, ...]
    mean: float
    std: float
    min: float
    max: float
    zeros: float
    non_finite: int


class Examined(NamedTuple):
    """The findings of the forward pass.

    Attributes:
      losses: name of a loss -> one number per example of the batch, without the penalties of layers; empty if that is not known.
      layers: what the layers returned, in the order of the computation, one replica after the other.
      note: what a reader of these should know; empty if that is nothing.
    """

    losses: dict[str, np.ndarray]
    layers: list[LayerOutput]
    note: str


_ALONE = (
    "The task returns a sum of losses, so each example was run alone: dropout, and layers that look at the whole batch, such as "
    "BatchNormalization, give other numbers then."
)


def examine(shards: Sequence[Shard], losses: TaskLosses, forward: Forward) -> Examined:
    """Run the forward pass of a train step on each shard, eagerly; changes nothing.

    Args:
      shards: a batch, in parts.
      losses: those of the task, with the weights before the step.
      forward: `Task.train_step`.
    """
    try:
        found = [_of_shard(shard, losses, forward) for shard in shards]
    except Exception as error:  # such as a layer that only runs in a graph
        return Examined({}, [], f"Not known: run eagerly, the step raised {type(error).__name__}: {error}")
    by_name = {name: np.concatenate([each[0][name] for each in found]) for name in found[0][0]}
    note = _ALONE if any(alone for _, _, alone in found) else ""
    return Examined(by_name, [output for _, outputs, _ in found for output in outputs], note)


def _of_shard(
    shard: Shard, losses: TaskLosses, forward: Forward
) -> tuple[dict[str, np.ndarray], list[LayerOutput], bool]:
    """Return (loss -> one number per example; what the layers returned; whether each example had to be run alone)."""
    with _as_in_a_step(shard.share, losses.model), watched(losses.model) as outputs:
        found, _ = losses.split(forward(losses.model, shard.batch))
    layers = [_statistics(each, tensor, shard.share) for each in outputs for tensor in each.tensors]
    if all(isinstance(each, tf.Tensor) for each in found.values()):
        return {name: _means(each) for name, each in found.items()}, layers, False
    return _one_by_one(shard, losses, forward), layers, True


def _one_by_one(shard: Shard, losses: TaskLosses, forward: Forward) -> dict[str, np.ndarray]:
    rows = []
    for i in range(int(shard.share.rows)):
        one = tf.nest.map_structure(lambda tensor, i=i: tensor[i : i + 1], shard.batch)
        share = shard.share._replace(first=shard.share.first + i, rows=tf.constant(1, tf.int64))
        with _as_in_a_step(share, losses.model):
            found, _ = losses.split(forward(losses.model, one))
        rows.append({name: _mean(each) for name, each in found.items()})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@contextlib.contextmanager
def _as_in_a_step(share: ReplicaShare, model: keras.Model) -> Iterator[None]:
    with share.active(), recording_into(Recorder()), ForwardState().discarded(share, model):
        yield


def _means(losses: Any) -> np.ndarray:
    """Return one loss per example, of losses (n, ...)."""
    numbers = np.asarray(losses).astype(np.float64)
    return numbers.reshape(len(numbers), -1).mean(1)


def _mean(losses: Any) -> float:
    """Return the loss of a batch: a mean, or the sum of several."""
    if isinstance(losses, SumOfMeans):
        return sum(map(_mean, losses.parts))
    if isinstance(losses, Tally):
        count = float(losses.count)
        return float(losses.value) / count if count else 0.0
    return float(np.asarray(losses).astype(np.float64).mean())


def _statistics(output: Output, tensor: tf.Tensor, share: ReplicaShare) -> LayerOutput:
    numbers = np.asarray(tensor).astype(np.float64)
    return LayerOutput(output.layer, int(share.replica), numbers.shape, **statistics(numbers))


def statistics(numbers: np.ndarray) -> Mapping[str, Any]:
    """Return mean, std, min, max, zeros and non_finite of an array; see `LayerOutput`."""
    finite = numbers[np.isfinite(numbers)]
    if not finite.size:
        nothing = dict.fromkeys(("mean", "std", "min", "max"), float("nan"))
        return {**nothing, "zeros": 0.0, "non_finite": numbers.size}
    return {
        "mean": float(finite.mean()),
        "std": float(finite.std()),
        "min": float(finite.min()),
        "max": float(finite.max()),
        "zeros": float((numbers == 0).mean()),
        "non_finite": int(numbers.size - finite.size),
    }
