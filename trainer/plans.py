"""What the loop has to know of its next steps' data, made in advance."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ..data.feed import Feed


class Plans:
    """Plans many steps at once: that takes about as long as to plan one, and a loop may have few steps.

    Args:
      feed: the train batches.
      longest: the most steps of a loop.
      jit_compile: compile it with XLA.
    """

    def __init__(self, feed: Feed, longest: int, jit_compile: bool):
        self._feed = feed
        self._steps = feed.steps_to_plan(longest)
        self._make = tf.function(self._plan, autograph=False, jit_compile=jit_compile)
        self._begin, self._planned = 0, None
        self._bounds: dict[int, tf.Tensor] = {}  # making a constant takes longer than looking it up

    @property
    def specs(self) -> tuple[Any, tf.TensorSpec]:
        """Of what `at` returns."""
        made = self._make.get_concrete_function(tf.TensorSpec([], tf.int64)).structured_outputs
        return tf.nest.map_structure(self._spec, made), tf.TensorSpec([2], tf.int64)

    def at(self, step: int, num_steps: int) -> tuple[Any, tf.Tensor]:
        """(a plan of these steps and others; int64 [2]: the step that it begins with, and `num_steps`).

        The two numbers are one tensor, as TensorFlow takes tens of microseconds for each argument of a traced function.
        """
        if self._planned is None or not self._begin <= step <= step + num_steps <= self._begin + self._steps:
            self._begin, self._planned = step, self._make(tf.constant(step, tf.int64))
            self._bounds.clear()
        if num_steps not in self._bounds:
            self._bounds[num_steps] = tf.constant([self._begin, num_steps], tf.int64)
        return self._feed.narrowed(self._planned, step), self._bounds[num_steps]

    def _plan(self, first: tf.Tensor) -> Any:
        return self._feed.plan(first, self._steps)

    def _spec(self, tensor: tf.Tensor) -> tf.TensorSpec:
        """Of any number of rows, as `narrowed` may leave fewer."""
        static = self._feed.full_batch is not None
        return tf.TensorSpec([d if i == 0 or static else None for i, d in enumerate(tensor.shape)], tensor.dtype)
