"""All that training needs, put together."""

from __future__ import annotations

import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...data import Input
from ...metrics.device.accumulator import Accumulator, Drained
from ...metrics.registry import MetricRegistry
from ...metrics.writers import Summary
from ..checkpointing import restore as checkpoints
from ..checkpointing.folder import CheckpointFolder
from ..errors import NonFiniteError
from ..model.batch_norm import local_batch_norms, make_exact
from ..model.layers import layers_of, refuse_stateful
from ..model.optimizers import constant_rates, parts, scheduled_rates
from ..step.replica_step import ReplicaStep
from ..step.train_loop import TrainLoop
from ..step.update import Update
from ..task import Task
from .progress import Progress
from .summaries import replicas_named, summarize
from .timing import TIMES


class Training:
    """The optimizer, the train data, the compiled loop and its metrics.

    Args:
      task: what is trained.
      model: its built model.
      optimizer: built on the model's trainable variables.
      strategy: the replicas.
      dataset: the train data.
      step: the step variable, advanced by the loop.
      progress: what else was done; saved with it.
      accumulation: steps an update.
      allowed_skips: how many updates in a row may be left out as they are not finite.
      clip_global_norm: the largest gradient norm, or None.
      jit_compile: compile with XLA: the whole loop where that can be, else forward and backward.
      longest_loop: the most steps of a loop.
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
        progress: Progress,
        accumulation: int,
        allowed_skips: int,
        clip_global_norm: float | None,
        jit_compile: bool,
        longest_loop: int,
    ):
        self.registry = MetricRegistry(task.metrics, TIMES)
        self.progress = progress
        self._task = task
        self._model = model
        self._replicas = strategy.num_replicas_in_sync
        self._step = step
        self._accumulation = accumulation
        self._summed_from = tf.Variable(0, trainable=False, dtype=tf.int64, name="summed_from")
        feed = dataset.open_train()
        whole = feed.even() if jit_compile and _is_one_cpu(strategy) else None
        self._feed = whole or feed
        self._accumulator = Accumulator(strategy, self.registry.layout)
        self._optimizer = optimizer
        refuse_stateful(model, self._replicas)
        make_exact(model, communicates=strategy.num_replicas_in_sync > 1, compiled=jit_compile)
        self._configured_rates = tf.Variable(constant_rates(optimizer), trainable=False, dtype=tf.float64)
        self.loop = TrainLoop(
            replica_step=ReplicaStep(model, task.train_step, self.registry, self._accumulator),
            update=Update(optimizer, model, clip_global_norm, in_xla_loop=whole is not None),
            accumulator=self._accumulator,
            strategy=strategy,
            feed=self._feed,
            variables=model.trainable_variables,
            scale_loss=optimizer.scale_loss,
            step=step,
            accumulation=accumulation,
            allowed_skips=allowed_skips,
            longest=longest_loop,
            compiles=("loop" if whole else "replica") if jit_compile else None,
        )

    @property
    def step(self) -> int:
        """The train steps done."""
        return int(self._step.numpy())

    def trace(self) -> None:
        """Traces the loop without running a step; before that, there is nothing to restore into."""
        started = time.monotonic()
        self.loop.trace()
        self.trace_seconds = time.monotonic() - started

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds."""
        data = tf.train.Checkpoint(**self._feed.checkpoint_items())
        more = {
            "data": data,
            "progress": self.progress.state(),
            "configured_learning_rates": self._configured_rates,
            "summed_from": self._summed_from,
            **self.loop.state(),
        }
        return checkpoints.run_state(
            self._task, self._model, self._optimizer, self._step, self.loop.forward_variables, more
        )

    def before_save(self) -> None:
        """Before a checkpoint, on every worker: brings to `state` what is spread over the replicas."""
        self.loop.before_save()

    def restore_newest(self, folder: CheckpointFolder) -> bool:
        """Continues from the newest checkpoint in `folder`; returns whether there was one."""
        configured = self._configured_rates.numpy()
        if checkpoints.restore_newest(self.state(), folder) is None:
            return False
        self._warn_of_other_replicas()
        if not self.loop.after_restore():
            logging.warning("The metrics are others than in the checkpoint: the next train summary starts at its step.")
            self._summed_from.assign(self.step)
        self._apply_configured_rates(configured)
        self.progress.best.restored()
        self._feed.seek(self.step)
        return True

    def _warn_of_other_replicas(self) -> None:
        """Layers whose results depend on how many replicas there are cannot go on exactly on another number of them."""
        before = self.loop.restored_replicas
        if before == self._replicas:
            return
        dependent = [layer.name for layer in layers_of(self._model) if hasattr(layer, "seed_generator")]
        dependent += [layer.name for layer in local_batch_norms(self._model)]
        if dependent:
            logging.warning(
                "The checkpoint is of %d replicas, and there are %d: %s will not go on exactly. Layers that would are "
                "models.InvariantDropout and BatchNormalization(synchronized=True).",
                before,
                self._replicas,
                ", ".join(dependent),
            )

    def roll_back(self, path: str) -> None:
        """Takes model and optimizer from a checkpoint, and goes on with the batch after the one that stopped the loop."""
        checkpoints.restore(tf.train.Checkpoint(model=self._model, optimizer=self._optimizer), path)
        self._step.assign_add(1)
        self._summed_from.assign(self.step)

    def _apply_configured_rates(self, configured: np.ndarray) -> None:
        """A learning rate that was changed in the config wins over the checkpoint's; one that an action set does not."""
        stored = self._configured_rates.numpy()
        self._configured_rates.assign(configured)
        for part, rate, before in zip(parts(self._optimizer), configured, stored, strict=True):
            if rate != before and not np.isnan(rate):
                part.learning_rate = rate

    def known(self) -> dict[str, float]:
        """Metrics that are no tallies: learning rates that follow a schedule, and what was left out: updates, and examples."""
        return {**scheduled_rates(self._optimizer), **self._skipped(), **self.loop.skipped_examples.take()}

    def drain(self) -> Drained:
        """The metrics' sums since the last drain."""
        self._summed_from.assign(self.step)
        return self._accumulator.drain()

    @property
    def steps_summed(self) -> int:
        """How many steps are in the sums that `drain` would return."""
        return self.step - int(self._summed_from.numpy())

    def summarize(self, step: int, seconds: float) -> Summary:
        """The metrics since the last drain, finished; `seconds` is the time that they span."""
        return summarize(self.registry, self.drain(), step, "train", seconds, self.known())

    def _skipped(self) -> dict[str, float]:
        """Where updates may be left out, how many were since the last call, as the metric `skipped`; and says so."""
        skips = self.loop.skips
        if not skips.allowed:
            return {}
        count = skips.take()
        if count:
            where = f"the last at step {skips.last + 1}: {self._feed.describe(skips.last)}"
            logging.warning("%d updates were left out, as the loss or a gradient was not finite; %s.", count, where)
        return {"skipped": float(count)}

    def not_finite(self) -> str:
        """What is not finite at the step where the loop has stopped, and where its batch is."""
        found = self.drain().non_finite()
        named = ", ".join(f"{path} on {replicas_named(replicas)}" for path, replicas in found.items()) or "a gradient"
        steps = f"Step {self.step + 1}" if self._accumulation == 1 else f"Steps {self._first + 1} to {self.step + 1}"
        allowed = self.loop.skips.allowed
        row = f", after {allowed} in a row that were left out" if allowed else ""
        return f"{steps}: not finite: {named}{row}. It was {self._feed.describe(self.step)}."

    def non_finite_error(self, what: str) -> NonFiniteError:
        """What to raise because of that."""
        return NonFiniteError(
            f"{what} Training stopped before the update: the weights are those after step {self._first}. A lower learning "
            "rate or Trainer.clip_global_norm often helps."
        )

    @property
    def _first(self) -> int:
        """The step after which the present update began."""
        return self.step - self.step % self._accumulation


def _is_one_cpu(strategy: tf.distribute.Strategy) -> bool:
    """Whether the data is where the steps run: an accelerator would copy all of it at each call of a compiled loop."""
    devices = strategy.extended.worker_devices
    return strategy.num_replicas_in_sync == 1 and tf.DeviceSpec.from_string(devices[0]).device_type == "CPU"
