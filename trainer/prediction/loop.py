"""The compiled prediction steps: a pass over a dataset, on all replicas, in order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ..distribution import workers
from ..model.embeddings import rows_looked_up
from ..step.batches import data_errors_located, fetch_one
from ..step.forward_state import ForwardState
from ..step.replica import run_on_shards
from ..task import Task
from ..user_code import Place, called_as, returned_by, traced_on


class PredictLoop:
    """Predicts every example of a dataset once, each replica its share of every batch.

    Args:
      task: its `predict_step` makes the predictions.
      model: the model.
      strategy: the replicas.
      feed: the batches of one pass.

    Attributes:
      feed: the batches.
      strategy: the replicas.
      outputs: a nest of `tf.TensorSpec`, what `predict_step` returns of a batch.
    """

    def __init__(self, *, task: Task, model: keras.Model, strategy: tf.distribute.Strategy, feed: Feed):
        self._task = task
        self._model = model
        self.strategy: tf.distribute.Strategy = strategy
        self.feed: Feed = feed
        self.outputs: Any = None
        self._shapes: list[tuple[int, ...]] = []  # of an example, which are those of the first batch
        number = tf.TensorSpec([], tf.int64)
        # Called as they were traced: TensorFlow takes many predictions for one function that is traced again, and warns.
        with traced_on(_place(feed), lambda: feed.element_spec):
            self._step = tf.function(self._predict, autograph=False).get_concrete_function(number)
        self._skip = tf.function(lambda step: fetch_one(feed, step)[1], autograph=False)

    @property
    def local(self) -> bool:
        """True if the examples of one worker follow those of another; else each has its part of every batch."""
        return self.feed.local

    def batches(self, first: int = 0) -> Iterator[list[np.ndarray]]:
        """Yield this worker's predictions of each batch from number `first` on: an array for each output, flat.

        All workers must call this, with the same number.

        Raises:
          DataError: an example cannot be read.
          UsageError: the outputs don't have the batch as first axis.
        """
        known, skipped = self.feed.batches_per_epoch, 0
        self._go_to(first)
        for number in range(first, 2**62 if known is None else known):
            with data_errors_located(self.feed, 0, partial(_place, self.feed, f"batch {number} (counted from 0)")):
                replicas, examples, lost = self._step(tf.constant(number, tf.int64))
            more = known is not None or bool(examples > 0)
            if self.local:  # each worker comes to its own end
                (more,) = workers.any_of(self.strategy, more)
            if not more:
                break
            skipped += int(lost)
            yield self._rows(replicas)
        if skipped:
            logging.warning('%d bad examples have no predictions, as Input.on_error = "skip".', skipped)

    def _go_to(self, first: int) -> None:
        if self.feed.batches_per_epoch is not None:
            self.feed.seek(first)
            return
        self.feed.rewind()
        for _ in range(first):  # a stream is read from its start
            with data_errors_located(self.feed, 0):
                self._skip(tf.constant(0, tf.int64))

    def _predict(self, number: tf.Tensor) -> tuple[list[tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]], tf.Tensor, Any]:
        """Return, for each replica of this worker, (outputs, rows that count, rows); the batch's examples; those skipped."""
        part, examples = fetch_one(self.feed, number)
        lost = self.feed.skipped(part)
        with rows_looked_up(self._model):
            found = run_on_shards(self.strategy, self.feed, part, examples, self._on_replica)
        local = [self.strategy.experimental_local_results(each) for each in tf.nest.flatten(found)]
        replicas = [tf.nest.pack_sequence_as(found, each) for each in zip(*local, strict=True)]
        return replicas, examples, tf.zeros([], tf.int64) if lost is None else lost

    def _on_replica(self, batch: Any, share: ReplicaShare) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        step = self._task.predict_step
        with share.active(), ForwardState().discarded(share, self._model):
            with called_as(step, "(model, batch)"):
                outputs = step(self._model, batch)
            with returned_by(step):
                tensors = [_checked(each) for each in tf.nest.flatten(outputs)]
        if not tensors:
            raise UsageError("predict_step returned nothing: expected tensors whose first axis is the batch.")
        specs = [tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in tensors]
        self.outputs = tf.nest.pack_sequence_as(outputs, specs)
        return tensors, tf.identity(share.rows), tf.shape(tf.nest.flatten(batch)[0], tf.int64)[0]

    def _rows(self, replicas: list[tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]]) -> list[np.ndarray]:
        shares = [self._counted(*each) for each in replicas]
        for share in shares:
            shapes = [each.shape[1:] for each in share]
            self._shapes = self._shapes or shapes
            if shapes != self._shapes:
                raise UsageError(
                    f"predict_step returned examples of the shapes {self._shapes}, and then of {shapes}: expected one shape for "
                    "all batches and replicas; pad them to one size."
                )
        return shares[0] if len(shares) == 1 else [np.concatenate(pieces) for pieces in zip(*shares, strict=True)]

    def _counted(self, outputs: list[tf.Tensor], rows: tf.Tensor, size: tf.Tensor) -> list[np.ndarray]:
        for each in outputs:
            if each.shape.as_list()[:1] != [int(size)]:
                raise UsageError(
                    f"predict_step returned an output of shape {tuple(each.shape)} for a batch of {int(size)}: expected the "
                    "batch as first axis."
                )
        return [each.numpy()[: int(rows)] for each in outputs]


def _place(feed: Feed, *when: str) -> Place:
    return Place("predict", "Trainer.predict", *when, feed=id(feed))


def _checked(output: Any) -> tf.Tensor:
    if output is None:
        raise UsageError("returned None: expected tensors whose first axis is the batch. Does it lack a `return`?")
    if isinstance(output, tf.RaggedTensor | tf.SparseTensor):
        raise UsageError(f"returned a {type(output).__name__}: expected dense tensors; call .to_tensor() on it.")
    tensor = tf.convert_to_tensor(output)
    if tensor.shape.rank == 0:
        raise UsageError("returned a scalar: expected tensors whose first axis is the batch.")
    return tensor
