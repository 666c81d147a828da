"""Metrics from inside constructs whose tensors cannot leave: a `tf.while_loop`, `tf.cond`, `tf.map_fn`, an RNN's cell."""

from __future__ import annotations

import math

import tensorflow as tf

from ..tally import Tally
from .outside_trace import outside_trace
from .packing import DTYPE

Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class Spill:
    """Variables that carry sums out of such constructs: added to inside, read and zeroed at the end of the step.

    A replica adds to its own copy. TensorFlow runs the reads after the constructs, as both touch the variable.
    """

    def __init__(self):
        self._variables: dict[tuple[str, Shapes], tf.Variable] = {}

    def add(self, path: str, tally: Tally) -> tuple[str, Shapes]:
        """Inside the construct: adds a contribution; returns what to `take` later."""
        shapes = tuple(tally.value.shape), tuple(tally.count.shape)
        key = path, shapes
        if key not in self._variables:
            strategy = tf.distribute.get_strategy()
            self._variables[key] = outside_trace(lambda: _variable(strategy, sum(math.prod(s) for s in shapes)))
        flat = [tf.reshape(tf.cast(part, DTYPE), [-1]) for part in tally]
        self._variables[key].assign_add(tf.concat(flat, 0))
        return key

    def take(self, key: tuple[str, Shapes]) -> Tally:
        """Outside of it: the step's sum, and zero for the next step."""
        variable, (value, count) = self._variables[key], key[1]
        sums = tf.identity(variable.read_value())
        with tf.control_dependencies([sums]):
            variable.assign(tf.zeros_like(sums))
        cut = math.prod(value)
        return Tally(tf.reshape(sums[:cut], value), tf.reshape(sums[cut:], count))


def _variable(strategy: tf.distribute.Strategy, size: int) -> tf.Variable:
    with strategy.scope():
        return tf.Variable(
            tf.zeros([size], DTYPE),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.SUM,
            name="spill",
        )
