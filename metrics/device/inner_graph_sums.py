"""Metrics from inside constructs whose tensors cannot leave: `tf.while_loop`, `tf.cond`, `tf.map_fn`, an RNN's cell."""

from __future__ import annotations

import math

import tensorflow as tf

from ..tally import Tally
from .packing import DTYPE
from .per_replica import outside_trace, variable_per_replica

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
Key = tuple[str, Shapes]
"""A path and the shapes of its value and count."""


class InnerGraphSums:
    """Variables that carry sums out of such constructs: added to inside, read and reset at the end of the step.

    Each replica adds to its own copy. TensorFlow runs the reads after the constructs, because both touch the variable.
    """

    def __init__(self) -> None:
        self._variables: dict[Key, tf.Variable] = {}

    def add(self, path: str, tally: Tally) -> Key:
        """Add, inside the construct, a tally to the sum of `path`; return the key to `take` the sum by."""
        shapes = tuple(tally.value.shape), tuple(tally.count.shape)
        key = path, shapes
        if key not in self._variables:
            strategy, size = tf.distribute.get_strategy(), sum(map(math.prod, shapes))
            self._variables[key] = outside_trace(
                lambda: variable_per_replica(strategy, tf.zeros([size], DTYPE), "inner_graph_sum")
            )
        flat = [tf.reshape(tf.cast(part, DTYPE), [-1]) for part in tally]
        self._variables[key].assign_add(tf.concat(flat, 0))
        return key

    def take(self, key: Key) -> Tally:
        """Outside of the construct: return the step's sum and reset it for the next step."""
        variable, (value_shape, count_shape) = self._variables[key], key[1]
        sums = tf.identity(variable.read_value())
        with tf.control_dependencies([sums]):
            variable.assign(tf.zeros_like(sums))
        cut = math.prod(value_shape)
        return Tally(tf.reshape(sums[:cut], value_shape), tf.reshape(sums[cut:], count_shape))
