"""Handwritten loops, short and fast, as TensorFlow's guides teach them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ..harness.problem import BATCH, NAMES, RATE, arrays, build_model, dataset, losses_of, shuffled, sums


class ByHand:
    """Loops over one model, optimizer and step under a strategy.

    Args:
      strategy: places the replicas.
      steps: per call of a loop.
      calls: of a loop, per run.
    """

    def __init__(self, strategy: tf.distribute.Strategy, steps: int, calls: int):
        self._strategy = strategy
        self._steps = steps
        self._calls = calls
        with strategy.scope():
            self._model = build_model()
            self._optimizer = keras.optimizers.SGD(RATE)
            self._optimizer.build(self._model.trainable_variables)

    def expert(self) -> Callable[[], None]:
        """Return the expert's loop: no metrics, no logging, no checkpoints."""
        iterator = iter(self._strategy.experimental_distribute_dataset(dataset()))

        @tf.function
        def loop(iterator):
            for _ in tf.range(self._steps):
                self._strategy.run(self._step, args=(next(iterator),))

        return self._repeated(lambda: loop(iterator))

    def limit(self) -> Callable[[], None]:
        """Return the same step on one constant batch, which leaves almost nothing but the step."""
        rows = self._constant_batch()

        @tf.function
        def loop():
            for _ in tf.range(self._steps):
                self._strategy.run(self._step, args=(rows,))

        return self._repeated(loop)

    def limit_with_metrics(self) -> Callable[[], None]:
        """Return the limit with the 16 metrics summed in one vector, on one replica."""
        rows, totals = self._constant_batch(), tf.Variable(tf.zeros(2 * len(NAMES)))

        @tf.function
        def loop():
            for _ in tf.range(self._steps):
                tallies = self._strategy.run(self._step_with_metrics, args=(rows,))
                totals.assign_add(tf.stack(tf.nest.flatten(tallies)))

        return self._repeated(loop)

    def compiled(self) -> Callable[[], None]:
        """Return a loop compiled by XLA as a whole, with the 16 metrics and batches gathered on one device.

        It computes what a `Trainer` with `jit_compile` computes, and does nothing else.
        """
        data = {name: tf.constant(array) for name, array in arrays().items()}
        chance = np.random.default_rng(0)

        def step(i, weights, totals, rows):
            batch = {name: tf.gather(tensor, tf.gather(rows, i)) for name, tensor in data.items()}
            with tf.GradientTape() as tape:
                tape.watch(weights)
                w, b, v, c = weights
                logits = tf.nn.relu(batch["x"] @ w + b) @ v + c
                losses = losses_of(batch["y"], logits)
                loss = tf.reduce_sum(losses) / BATCH
            weights = [w - RATE * g for w, g in zip(weights, tape.gradient(loss, weights), strict=True)]
            return i + 1, weights, totals + tf.stack(tf.nest.flatten(_tallies(batch["y"], logits, losses)))

        @tf.function(jit_compile=True)
        def loop(rows, weights, totals):
            return tf.while_loop(
                lambda i, *_: i < self._steps, lambda i, *state: step(i, *state, rows), [0, weights, totals]
            )[1:]

        state = [tf.constant(v.numpy()) for v in self._model.trainable_variables], tf.zeros(2 * len(NAMES))

        def run():
            nonlocal state
            for _ in range(self._calls):
                state = loop(tf.constant(shuffled(chance, len(data["y"]), self._steps)), *state)

        return run

    def naive(self) -> Callable[[], None]:
        """Return the expert's loop with each of the 16 metrics reduced at each step."""
        iterator = iter(self._strategy.experimental_distribute_dataset(dataset()))
        with self._strategy.scope():
            totals = {name: (tf.Variable(0.0), tf.Variable(0.0)) for name in NAMES}

        @tf.function
        def loop(iterator):
            for _ in tf.range(self._steps):
                tallies = self._strategy.run(self._step_with_metrics, args=(next(iterator),))
                for name, tally in tallies.items():
                    for total, part in zip(totals[name], tally, strict=True):
                        total.assign_add(self._strategy.reduce("SUM", part, axis=None))

        return self._repeated(lambda: loop(iterator))

    def _constant_batch(self) -> dict[str, tf.Tensor]:
        share = BATCH // self._strategy.num_replicas_in_sync
        return {name: tf.constant(array[:share]) for name, array in arrays().items()}

    def _step(self, batch):
        return self._update(batch)[1]

    def _step_with_metrics(self, batch):
        return _tallies(batch["y"], *self._update(batch))

    def _update(self, batch):
        with tf.GradientTape() as tape:
            logits = self._model(batch["x"], training=True)
            losses = losses_of(batch["y"], logits)
            loss = tf.reduce_sum(losses) / BATCH
        variables = self._model.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return logits, losses

    def _repeated(self, call: Callable[[], None]) -> Callable[[], None]:
        def run():
            for _ in range(self._calls):
                call()

        return run


def _tallies(labels: tf.Tensor, logits: tf.Tensor, losses: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
    tallies = {}
    for name, (values, weights) in sums(labels, logits, losses).items():
        weights = tf.ones_like(values) if weights is None else tf.cast(weights, tf.float32)
        tallies[name] = tf.reduce_sum(weights * values), tf.reduce_sum(weights)
    return tallies
