"""All that training needs, put together."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ..data import Input
from ..metrics.accumulator import Accumulator, Drained
from ..metrics.registry import MetricRegistry
from ..metrics.writers import Summary
from . import checkpoints
from .errors import NonFiniteError
from .optimizers import constant_rates, parts, scheduled_rates
from .replica_step import ReplicaStep
from .summaries import replicas_named, summarize
from .sync_batch_norm import make_exact
from .task import Task
from .train_loop import TrainLoop
from .update import Update


class Training:
    """The optimizer, the train data, the compiled loop and its metrics.

    Args:
      task: what is trained.
      model: its built model.
      optimizer: built on the model's trainable variables.
      strategy: the replicas.
      dataset: the train data.
      step: the step variable, advanced by the loop.
      accumulation: steps an update.
      clip_global_norm: the largest gradient norm, or None.
      jit_compile: compile forward and backward with XLA.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        strategy: tf.distribute.Strategy,
        dataset: Input,
        step: tf.Variable,
        accumulation: int,
        clip_global_norm: float | None,
        jit_compile: bool,
    ):
        self.registry = MetricRegistry(task.metrics)
        self._model = model
        self._step = step
        self._accumulation = accumulation
        self._feed = dataset.open_train()
        self._accumulator = Accumulator(strategy, self.registry)
        self._optimizer = optimizer
        make_exact(model, communicates=strategy.num_replicas_in_sync > 1, compiled=jit_compile)
        self._configured_rates = tf.Variable(constant_rates(optimizer), trainable=False, dtype=tf.float64)
        self.loop = TrainLoop(
            replica_step=ReplicaStep(model, task.train_step, self.registry, self._accumulator),
            update=Update(optimizer, model, clip_global_norm),
            accumulator=self._accumulator,
            strategy=strategy,
            feed=self._feed,
            variables=model.trainable_variables,
            scale_loss=optimizer.scale_loss,
            step=step,
            accumulation=accumulation,
            jit_compile=jit_compile,
        )

    @property
    def step(self) -> int:
        """The train steps done."""
        return int(self._step.numpy())

    def trace(self) -> None:
        """Traces the loop without running a step; before that, there is nothing to restore into."""
        self.loop.trace()

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds."""
        data = tf.train.Checkpoint(**self._feed.checkpoint_items())
        more = {"data": data, "configured_learning_rates": self._configured_rates, **self.loop.state()}
        return checkpoints.run_state(self._model, self._optimizer, self._step, self.loop.forward_variables, more)

    def hold(self) -> None:
        """Before a checkpoint, on every worker: brings to `state` what is spread over the replicas."""
        self.loop.hold()

    def restore_newest(self, folder: Path) -> bool:
        """Continues from the newest checkpoint in `folder`; returns whether there was one."""
        configured = self._configured_rates.numpy()
        if checkpoints.restore_newest(self.state(), folder) is None:
            return False
        if not self.loop.release():
            logging.warning("The metrics are others than in the checkpoint: the next train summary starts at its step.")
        self._apply_configured_rates(configured)
        self._feed.seek(self.step)
        return True

    def _apply_configured_rates(self, configured: np.ndarray) -> None:
        """A learning rate that was changed in the config wins over the checkpoint's; one that an action set does not."""
        stored = self._configured_rates.numpy()
        self._configured_rates.assign(configured)
        for part, rate, before in zip(parts(self._optimizer), configured, stored, strict=True):
            if rate != before and not np.isnan(rate):
                part.learning_rate = rate

    def learning_rates(self) -> dict[str, float]:
        """The learning rates that follow a schedule, by metric path."""
        return scheduled_rates(self._optimizer)

    def drain(self) -> Drained:
        """The metrics' sums since the last drain."""
        return self._accumulator.drain()

    def summarize(self, step: int, seconds: float) -> Summary:
        """The metrics since the last drain, finished; `seconds` is the time that they span."""
        return summarize(self.registry, self.drain(), step, "train", seconds, self.learning_rates())

    def non_finite_error(self) -> NonFiniteError:
        """What to raise when the loop has stopped at a step that is not finite."""
        found = self.drain().non_finite()
        named = ", ".join(f"{path} on {replicas_named(replicas)}" for path, replicas in found.items()) or "a gradient"
        first = self.step - self.step % self._accumulation
        steps = f"Step {self.step + 1}" if self._accumulation == 1 else f"Steps {first + 1} to {self.step + 1}"
        return NonFiniteError(
            f"{steps}: not finite: {named}. Training stopped before the update: the weights are those "
            f"after step {first}. A lower learning rate or Trainer.clip_global_norm often helps."
        )
