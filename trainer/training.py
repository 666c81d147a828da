"""All that training needs, put together."""

from __future__ import annotations

import keras
import tensorflow as tf

from ..data import Input
from ..metrics.accumulator import Accumulator, Drained
from ..metrics.registry import MetricRegistry
from ..metrics.writers import Summary
from . import checkpoints
from .optimizers import adopt
from .replica_step import ReplicaStep
from .summaries import summarize
from .task import Task
from .train_loop import TrainLoop
from .update import Update


class Training:
    """The optimizer, the train data, the compiled loop and its metrics.

    Args:
      task: what is trained.
      model: its built model.
      optimizer: unbuilt, or a function that makes one.
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
        optimizer,
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
        self._feed = dataset.open_train()
        self._accumulator = Accumulator(strategy, self.registry)
        variables = model.trainable_variables
        self._optimizer = adopt(optimizer, strategy, variables)
        self.loop = TrainLoop(
            replica_step=ReplicaStep(model, task.train_step, self.registry, self._accumulator),
            update=Update(self._optimizer, variables, clip_global_norm),
            accumulator=self._accumulator,
            strategy=strategy,
            feed=self._feed,
            variables=variables,
            scale_loss=self._optimizer.scale_loss,
            step=step,
            accumulation=accumulation,
            jit_compile=jit_compile,
        )

    @property
    def step(self) -> int:
        """The train steps done."""
        return int(self._step.numpy())

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds."""
        return checkpoints.run_state(self._model, self._optimizer, self._step, self._feed.checkpoint_items())

    def restore(self, path: str) -> None:
        """Continues from the checkpoint at `path`."""
        checkpoints.restore(self.state(), path)
        self._feed.seek(self.step)

    def trace(self) -> None:
        """Traces the loop without running a step."""
        self.loop.trace()

    def drain(self) -> Drained:
        """The metrics' sums since the last drain."""
        return self._accumulator.drain()

    def summarize(self, step: int) -> Summary:
        """The metrics since the last drain, finished."""
        return summarize(self.registry, self.drain(), step, "train")
