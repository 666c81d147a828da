"""The sum of the gradients over replicas, and over the steps of an accumulated update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...metrics.device.outside_trace import outside_trace
from ...metrics.device.per_replica import PerReplica
from .reduction import sum_over_replicas


class GradientSums:
    """Adds up what the replicas contribute, and reduces it when an update is due.

    Args:
      strategy: the replicas.
      accumulation: the number of steps an update is made of. Their sums, counts included, add up on each
        replica and are reduced once: the update is that of one batch `accumulation` times as large.
    """

    def __init__(self, strategy: tf.distribute.Strategy, accumulation: int):
        self._strategy = strategy
        self._accumulation = accumulation
        self._sums: list[PerReplica] | None = None

    def add_and_maybe(
        self, step: tf.Tensor, gradients: Any, loss: Any, apply: Callable[[Any, Any], tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds a step's per-replica sums; if the step ends an update, reduces the sums and calls `apply`.

        Args:
          step: int64 scalar, the number of the step.
          gradients: per-replica dict of sums.
          loss: per-replica `Tally`.
          apply: `(reduced gradients, reduced loss) -> bool scalar`.

        Returns:
          What `apply` returned, True in a step without an update; and whether there was one.
        """
        sums = (gradients, loss)
        if self._accumulation == 1:
            return apply(*sum_over_replicas(self._strategy, sums)), tf.constant(True)
        self._add(sums)
        due = (step + 1) % self._accumulation == 0
        return tf.cond(due, lambda: apply(*self._take_all(sums)), lambda: tf.constant(True)), due

    def state(self) -> list[PerReplica]:
        """The sums of an update that is not complete; known once a step was traced."""
        return self._sums or []

    def _add(self, sums: Any) -> None:
        if self._sums is None:
            local = [self._strategy.experimental_local_results(value)[0] for value in tf.nest.flatten(sums)]
            self._sums = outside_trace(lambda: [self._zeros(value.shape, value.dtype) for value in local])

        def add_replica(sums):
            for total, value in zip(self._sums, tf.nest.flatten(sums), strict=True):
                total.value.assign_add(value)

        self._strategy.run(add_replica, args=(sums,))

    def _take_all(self, sums: Any) -> Any:
        taken = self._strategy.run(lambda: [total.take() for total in self._sums])
        return tf.nest.pack_sequence_as(sums, sum_over_replicas(self._strategy, taken))

    def _zeros(self, shape: tf.TensorShape, dtype: tf.DType) -> PerReplica:
        return PerReplica(self._strategy, tf.zeros(shape, dtype), name="gradient_sum")
