"""The sum of the gradients over replicas, and over the steps of an accumulated update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..metrics.lifting import outside_trace


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
        self._variables: list[tf.Variable] | None = None

    def add_and_maybe(
        self, step: tf.Tensor, gradients: Any, loss: Any, apply: Callable[[Any, Any], tf.Tensor]
    ) -> tf.Tensor:
        """Adds a step's per-replica sums; if the step ends an update, reduces the sums and calls `apply`.

        Args:
          step: int64 scalar, the number of the step.
          gradients: per-replica dict of sums.
          loss: per-replica `Tally`.
          apply: `(reduced gradients, reduced loss) -> bool scalar`.

        Returns:
          What `apply` returned; True in a step without an update.
        """
        sums = (gradients, loss)
        if self._accumulation == 1:
            return apply(*self._reduce(sums))
        self._add(sums)
        due = (step + 1) % self._accumulation == 0
        return tf.cond(due, lambda: self._finish(sums, apply), lambda: tf.constant(True))

    def _reduce(self, per_replica: Any) -> Any:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, per_replica, axis=None)

    def _add(self, sums: Any) -> None:
        if self._variables is None:
            self._variables = self._create(sums)

        def add_replica(sums):
            for variable, value in zip(self._variables, tf.nest.flatten(sums), strict=True):
                variable.assign_add(value)

        self._strategy.run(add_replica, args=(sums,))

    def _finish(self, sums: Any, apply: Callable[[Any, Any], tf.Tensor]) -> tf.Tensor:
        def read_and_zero():
            values = [variable.read_value() for variable in self._variables]
            with tf.control_dependencies(values):
                for variable in self._variables:
                    variable.assign(tf.zeros_like(variable))
            return tf.nest.pack_sequence_as(sums, values)

        return apply(*self._reduce(self._strategy.run(read_and_zero)))

    def _create(self, sums: Any) -> list[tf.Variable]:
        """Makes the variables once the first step has been traced: only then it is known what there is to sum."""
        local = [self._strategy.experimental_local_results(value)[0] for value in tf.nest.flatten(sums)]
        return outside_trace(lambda: [self._zeros(value.shape, value.dtype) for value in local])

    def _zeros(self, shape: tf.TensorShape, dtype: tf.DType) -> tf.Variable:
        with self._strategy.scope():
            return tf.Variable(
                tf.zeros(shape, dtype),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
                name="gradient_sum",
            )
