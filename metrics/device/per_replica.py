"""Variables with one value per replica, and how those values get into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

import numpy as np
import tensorflow as tf


class PerReplica:
    """A variable with one value per replica, which costs no communication while a step runs.

    A checkpoint holds the values of all replicas, one per row. A rerun on as many replicas continues exactly; on another
    number, the first replica takes what all of them had.

    Args:
      strategy: the replicas.
      initial: the value before anything is added, of a fixed shape.
      combine: rows (replicas, ...) -> the value of all of them; their sum by default.
      name: the variable's name.

    Attributes:
      value: the variable; in a replica, that replica's value.
      rows: the values as a checkpoint holds them, (replicas, ...); current only after `before_save` or a restore.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        initial: tf.Tensor,
        combine: Callable[[np.ndarray], np.ndarray] = lambda rows: rows.sum(0),
        name: str = "per_replica",
    ):
        self._strategy = strategy
        self._initial = initial
        self._combine = combine
        # Of unknown shape: a checkpoint may come from another number of replicas, or hold the sums of other metrics.
        shape = tf.TensorShape(None)  # pyright: ignore[reportArgumentType]  # the stubs leave out None
        self.rows: tf.Variable = tf.Variable(initial[tf.newaxis], trainable=False, shape=shape, name=f"{name}_rows")
        self.value: tf.Variable = variable_per_replica(strategy, initial, name)

    def take(self) -> tf.Tensor:
        """Return the value of a replica and reset it to the initial one. Called in the replica."""
        value = tf.identity(self.value.read_value())
        with tf.control_dependencies([value]):
            self.value.assign(self._initial)
        return value

    def before_save(self) -> None:
        """Copy the values to `rows`, which is saved. Called eagerly, before a checkpoint."""
        self.rows.assign(self._gather())

    def after_restore(self) -> None:
        """Copy `rows` to the replicas. Called eagerly, after a restore."""
        rows = self.rows.numpy()
        if len(rows) != self._strategy.num_replicas_in_sync:
            others = [self._initial.numpy()] * (self._strategy.num_replicas_in_sync - 1)
            rows = np.stack([self._combine(rows), *others])
        self._assign(tf.constant(rows))

    # The traced functions: TensorFlow takes those of many objects for one that is traced again, and warns.

    @cached_property
    def _gather(self) -> Callable[[], tf.Tensor]:
        return tf.function(self._gathered, autograph=False).get_concrete_function()

    @cached_property
    def _assign(self) -> Callable[[tf.Tensor], None]:
        rows = tf.TensorSpec([self._strategy.num_replicas_in_sync, *self._initial.shape], self._initial.dtype)
        return tf.function(self._assigned, autograph=False).get_concrete_function(rows)

    def _gathered(self) -> tf.Tensor:
        """Return all values, (replicas, ...): each replica writes its own row, and the rows are added up."""

        def place() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            mine = tf.range(context.num_replicas_in_sync) == context.replica_id_in_sync_group
            mine = tf.reshape(mine, [-1, *[1] * self._initial.shape.rank])
            return tf.where(mine, self.value.read_value()[tf.newaxis], tf.zeros([], self._initial.dtype))

        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(place), axis=None)

    def _assigned(self, rows: tf.Tensor) -> None:
        def assign() -> None:
            self.value.assign(rows[tf.distribute.get_replica_context().replica_id_in_sync_group])

        self._strategy.run(assign)


def variable_per_replica(strategy: tf.distribute.Strategy, initial: tf.Tensor, name: str) -> tf.Variable:
    """Create a variable that each replica reads and assigns on its own."""
    with strategy.scope():
        return tf.Variable(
            initial,
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name=name,
        )


T = TypeVar("T")


@tf.autograph.experimental.do_not_convert
def outside_trace(create: Callable[[], T]) -> T:
    """Call `create` as if no `tf.function` were being traced, and return its result.

    The call runs in a thread of its own, because what is being traced is a property of the thread. `tf.init_scope` would
    do for tensors, but a `tf.function` that sees a variable being created traces itself a second time, even there.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(create).result()
