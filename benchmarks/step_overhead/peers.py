"""The digits trained by Keras's `fit` and by Orbit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from ..harness.problem import BATCH, NAMES, RATE, build_model, dataset, losses_of, sums
from .training import ENDLESS, LAP, SUMMARY

ORBIT_LAP = 20  # steps; fewer, because Orbit writes summaries and flushes them after every loop


def fit(steps_per_execution: int, jit_compile: bool) -> Callable[[Callable[[], None]], None]:
    """Return a `Model.fit` with a loss and an accuracy that halts after each epoch of `LAP` steps."""

    def run(halt: Callable[[], None]) -> None:
        model = build_model()
        model.compile(
            keras.optimizers.SGD(RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: halt())
        pairs = dataset().map(lambda rows: (rows["x"], rows["y"]))
        model.fit(pairs, epochs=ENDLESS, steps_per_epoch=LAP, verbose=0, callbacks=[callback])

    return run


def orbit(folder: Path, strategy: tf.distribute.Strategy) -> Callable[[], None] | None:
    """Return Orbit's `Controller` with summaries, one step per loop; None where Orbit is not installed."""
    try:
        import orbit
        import tf_keras
    except ImportError:
        return None

    step = tf.Variable(0, dtype=tf.int64)
    tf.summary.experimental.set_step(step)

    class Digits(orbit.StandardTrainer):
        def __init__(self):
            with strategy.scope():
                self.model = tf_keras.Sequential(
                    [tf_keras.layers.Dense(128, "relu", input_shape=(64,)), tf_keras.layers.Dense(10)]
                )
                self.optimizer = tf_keras.optimizers.SGD(RATE)
                self.metrics = [tf_keras.metrics.Mean(name) for name in NAMES]
            super().__init__(strategy.experimental_distribute_dataset(dataset()))

        def train_step(self, iterator):
            strategy.run(self._replica_step, args=(next(iterator),))
            step.assign_add(1)  # without it, the Controller would run forever

        def _replica_step(self, batch):
            with tf.GradientTape() as tape:
                logits = self.model(batch["x"], training=True)
                losses = losses_of(batch["y"], logits)
                loss = tf.reduce_sum(losses) / BATCH
            variables = self.model.trainable_variables
            self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            for metric, pair in zip(self.metrics, sums(batch["y"], logits, losses).values(), strict=True):
                metric.update_state(*pair)

        def train_loop_end(self):
            results = {metric.name: metric.result() for metric in self.metrics}
            for metric in self.metrics:
                metric.reset_states()
            return results

    controller = orbit.Controller(
        trainer=Digits(),
        strategy=strategy,
        global_step=step,
        steps_per_loop=1,
        summary_dir=str(folder),
        summary_interval=SUMMARY,
    )
    return lambda: controller.train(int(step.numpy()) + ORBIT_LAP)
