"""The sum of the gradients over replicas, and over the steps of an accumulated update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ...metrics.device.per_replica import PerReplica, outside_trace
from ..distribution.reduction import sum_over_replicas


class GradientSums:
    """Adds up the replicas' contributions, and reduces them when an update is due. A part of the checkpoint.

    Args:
      strategy: the replicas.
      steps_per_update: their sums, counts included, add up on each replica and are reduced once, so the update is that of
        one batch `steps_per_update` times as large.
    """

    def __init__(self, strategy: tf.distribute.Strategy, steps_per_update: int):
        self._strategy = strategy
        self._steps_per_update = steps_per_update
        self._sums: list[PerReplica] = []  # made when a step is traced

    def add_and_maybe(
        self, step: tf.Tensor, sums: Any, apply: Callable[[Any], tf.Tensor], losses: tuple[int, ...] = ()
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Add a step's per-replica sums; if the step ends an update, reduce the sums and call `apply`.

        Args:
          step: int64 scalar, the number of the step.
          sums: per-replica nest of tensors: the terms of the objective.
          apply: `(reduced sums) -> bool`, of shape `losses`.
          losses: () for one loss, (losses,) for several.

        Returns:
          (the result of `apply`, or True in a step without an update; whether the step ended an update, a scalar).
        """
        if self._steps_per_update == 1:
            return apply(sum_over_replicas(self._strategy, sums)), tf.constant(True)
        self._add(sums)
        due = tf.math.floormod(step + 1, self._steps_per_update) == 0
        return tf.cond(due, lambda: apply(self._take_all(sums)), lambda: tf.ones(losses, tf.bool)), due

    def state(self) -> dict[str, Any]:
        """The sums of an incomplete update; known once a step has been traced."""
        return {"gradient_sums": tf.train.Checkpoint(**{str(i): total.rows for i, total in enumerate(self._sums)})}

    def before_save(self) -> None:
        """Copy the replicas' sums to where `state` has them."""
        for total in self._sums:
            total.before_save()

    def after_restore(self) -> None:
        """Copy the restored sums to the replicas."""
        for total in self._sums:
            total.after_restore()

    def _add(self, sums: Any) -> None:
        if not self._sums:
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
