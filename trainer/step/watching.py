"""A step run once more, eagerly: the shards of its batch, and what each layer returns for one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ..distribution import workers
from ..model.layers import calls_replaced, layers_of


class Shard(NamedTuple):
    """A replica's examples of a batch.

    Attributes:
      batch: a nest of tensors.
      share: which part of the global batch they are.
      replicas: how many replicas there are.
    """

    batch: Any
    share: ReplicaShare
    replicas: int


class Output(NamedTuple):
    """The output of a layer.

    Attributes:
      layer: its path, or its name.
      tensors: those of its output.
      fed: whether all of its inputs were finite.
    """

    layer: str
    tensors: list[tf.Tensor]
    fed: bool


def own_shards(strategy: tf.distribute.Strategy, feed: Feed, part: Any, examples: tf.Tensor) -> Iterator[Shard]:
    """Yield the shards of this process's replicas, without those that have no example.

    Args:
      strategy: the replicas.
      feed: cuts the batch.
      part: the batch, as `feed.fetch` returned it.
      examples: its size.
    """
    replicas = strategy.num_replicas_in_sync
    own = replicas // workers.count(strategy)
    for index in range(own * workers.index(strategy), own * (workers.index(strategy) + 1)):
        batch, rows = feed.shard(part, examples, index, replicas)
        if int(rows):
            first = feed.first(examples, index, replicas)
            yield Shard(batch, ReplicaShare(tf.constant(index, tf.int64), first, rows, examples), replicas)


@contextlib.contextmanager
def watched(*models: keras.Model) -> Iterator[list[Output]]:
    """List what the layers return inside the context, in the order in which they do; an inner layer before its outer one."""
    outputs: list[Output] = []
    layers = {id(layer): layer for model in models for layer in (*layers_of(model), model)}
    found = [layer for layer in layers.values() if "call" not in vars(layer)]
    with calls_replaced(found, lambda layer: _reporting(layer, layer.call, outputs)):
        yield outputs


def _reporting(layer: keras.Layer, call: Callable[..., Any], outputs: list[Output]) -> Callable[..., Any]:
    @wraps(call)
    def reporting(*args: Any, **kwargs: Any) -> Any:
        found = call(*args, **kwargs)
        fed = all(_finite(tensor) for tensor in _tensors((args, kwargs)))
        outputs.append(Output(layer.path or layer.name, _tensors(found), fed))
        return found

    return reporting


def _finite(tensor: tf.Tensor) -> bool:
    return bool(np.isfinite(np.asarray(tensor).astype(np.float64)).all())


def _tensors(nest: Any) -> list[tf.Tensor]:
    """Return the tensors with numbers in a nest; in the graph of a loop inside a layer, there are none."""
    found = [each for each in tf.nest.flatten(nest) if isinstance(each, tf.Tensor)]
    return [each for each in found if each.dtype.is_floating and hasattr(each, "numpy")]
