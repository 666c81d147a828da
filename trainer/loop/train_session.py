"""Everything that training needs, put together: the compiled loop, its data, optimizer and metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from ...data import Feed, Input
from ...metrics.device.accumulator import Accumulator, Drained
from ...metrics.registry import MetricRegistry
from ...metrics.terminal.spinner import doing
from ...metrics.writers import Summary
from ..checkpointing import restore
from ..checkpointing.folder import CheckpointFolder
from ..checkpointing.retention import Best
from ..checkpointing.snapshot import Snapshots
from ..checkpointing.state import ModelState, Part, RunState, Trackable, model_state, optimizer_state
from ..distribution import workers
from ..distribution.strategies import is_one_cpu
from ..model.batch_norm import make_exact
from ..model.embeddings import is_large_table
from ..model.large_updates import updated_by_rows
from ..model.layers import convolves, refuse_stateful, replica_dependent_layers
from ..model.optimizers import LearningRates, Optimizers, by_loss, learning_rates
from ..step.first_non_finite import first_non_finite
from ..step.replica_step import ReplicaStep
from ..step.train_loop import TrainLoop
from ..step.update import Update, Updates, UpdateSettings
from ..task import Task, TaskLosses
from ..user_code import Place, traced_on
from .progress import Progress
from .schedule import LoopLength
from .summaries import summarize
from .timing import TIMES


class Trained(NamedTuple):
    """A model and what trains it.

    Attributes:
      task: says how.
      model: its built model.
      optimizer: built on the model's trainable variables; for several losses, name -> built on those that the loss trains.
    """

    task: Task
    model: keras.Model
    optimizer: Optimizers


class TrainSession:
    """The compiled train loop with its data, optimizer and metrics, and its state in checkpoints.

    Args:
      trained: the task, its model and its optimizer.
      strategy: the replicas.
      dataset: the train data.
      progress: how far the run has come.
      settings: how gradients become updates, and what XLA compiles.
      loop_length: how many steps run in the graph at once.
      actions: what they remember is saved, too.
    """

    def __init__(
        self,
        *,
        trained: Trained,
        strategy: tf.distribute.Strategy,
        dataset: Input,
        progress: Progress,
        settings: UpdateSettings,
        loop_length: LoopLength,
        actions: Part,
    ):
        task, model, optimizer = trained
        refuse_stateful(model, strategy.num_replicas_in_sync)
        make_exact(model, communicates=strategy.num_replicas_in_sync > 1, compiled=settings.jit_compile)
        self.registry: MetricRegistry = MetricRegistry(task.metrics, TIMES)
        self.progress = progress
        self.strategy: tf.distribute.Strategy = strategy
        self.global_batch_size: int = dataset.global_batch_size
        self.task: Task = task
        self._settings = settings
        self._actions = actions
        self._dataset = dataset
        self.loop_length: LoopLength = loop_length
        whole_steps = settings.jit_compile and is_one_cpu(strategy)
        feed = self.open_feed()
        even = feed.even() if whole_steps and not convolves(task, model) else None
        self.feed: Feed = even or feed
        self.model: keras.Model = model
        self.train_step: Callable[[keras.Model, Any], Any] = task.train_step
        self._optimizer = optimizer
        self._sums = MetricSums(Accumulator(strategy, self.registry.layout), progress)
        self.losses: TaskLosses = TaskLosses(task, model, by_loss(optimizer))
        updates = {name: self._update(name, each, whole_steps) for name, each in by_loss(optimizer).items()}
        self.loop: TrainLoop = TrainLoop(
            replica_step=self._replica_step(whole_steps),
            updates=Updates(updates, settings.update_every),
            strategy=strategy,
            feed=self.feed,
            step=progress.step_variable,
            settings=settings,
            longest=loop_length.longest,
            compiles=("loop" if even else "step" if whole_steps else "replica") if settings.jit_compile else None,
        )
        self.state: RunState = RunState(self._parts())

    def _replica_step(self, in_xla: bool) -> ReplicaStep:
        accumulator, large = self._sums.accumulator, self._large(in_xla)
        return ReplicaStep(self.losses, self.task.train_step, self.registry, accumulator, large, in_xla)

    def _parts(self) -> list[Part]:
        """Return the parts of a checkpoint."""
        state_of_model = ModelState(self.task, self.model, self._optimizer, lambda: self.loop.forward_variables)
        position = DataPosition(self.feed, self.progress, partial(workers.total, self.strategy))
        rest = [LearningRates(self._optimizer), position, self._actions]
        return [state_of_model, self.progress, self._sums, *self.loop.parts, *rest]

    def _update(self, name: str, optimizer: keras.optimizers.Optimizer, in_xla: bool) -> Update:
        variables = self.losses.variables(name)
        by_rows = updated_by_rows(optimizer, variables)
        return Update(optimizer, variables, self._settings.clip_global_norm, in_xla, name, by_rows)

    def _large(self, whole_steps: bool) -> dict[str, frozenset[int]]:
        """Return name of a loss -> the tables whose gradient is given by its rows; none if steps, or replicas in XLA, add up."""
        if self._settings.gradient_accumulation > 1 or (self._settings.jit_compile and not whole_steps):
            return {}
        variables = {name: self.losses.variables(name) for name in by_loss(self._optimizer)}
        return {name: frozenset(i for i, v in enumerate(each) if is_large_table(v)) for name, each in variables.items()}

    @property
    def variables(self) -> list[keras.Variable]:
        """The trained variables: those of each loss, one loss after the other."""
        return [variable for name in by_loss(self._optimizer) for variable in self.losses.variables(name)]

    @property
    def changed_by_update(self) -> list[keras.Variable]:
        """The variables that an update assigns, and those of the model that it doesn't."""
        return [*self.model.variables, *(v for each in by_loss(self._optimizer).values() for v in each.variables)]

    def open_feed(self) -> Feed:
        """Return another feed of the train data, at its start."""
        return self._dataset.open_train(*workers.index_and_count(self.strategy))

    def trace(self) -> None:
        """Trace the loop without running a step; before that, there is nothing to restore into."""
        started = time.monotonic()
        place = Place("train", "Trainer.train_dataset", feed=id(self.feed))
        with traced_on(place, lambda: self._dataset.element_spec), doing("tracing the train step"):
            self.loop.trace()
        self.trace_seconds: float = time.monotonic() - started

    def restore_newest(self, folder: CheckpointFolder) -> bool:
        """Continue from the newest checkpoint in `folder`; returns whether there was one."""
        if restore.restore_newest(self.state.checkpoint(), folder) is None:
            return False
        self._warn_of_other_replicas()
        self.state.after_restore()
        return True

    def restore_before(self, step: int, folder: CheckpointFolder) -> int | None:
        """Continue from the newest readable checkpoint before `step`; returns its step, None if there is none."""
        state = self.state.checkpoint()
        earlier = [each for each in folder.steps() if each < step]
        found = restore.newest_usable(folder, earlier, lambda path: restore.restore(state, path))
        if found is not None:
            self._warn_of_other_replicas()
            self.state.after_restore()
        return found

    def try_snapshot(self) -> None:
        """Do all of a save but the writing.

        Raises:
          UsageError: something in the state cannot be saved.
        """
        self.state.before_save()
        Snapshots(self.state.checkpoint()).take()

    def roll_back(self, path: str) -> None:
        """Restore model and optimizer from a checkpoint, and continue with the batch after the one that stopped the loop."""
        restore.restore(tf.train.Checkpoint(**model_state(self.model), **optimizer_state(self._optimizer)), path)
        self.progress.step_variable.assign_add(1)
        self._sums.start_here()

    def first_non_finite(self, steps: range) -> str:
        """Describe where the first number that isn't finite comes from, in the steps of the update that was not made."""
        stopped = self.loop.stopped_batch
        return first_non_finite(self.strategy, self.feed, self.losses, self.train_step, steps, stopped)

    def known(self) -> dict[str, float]:
        """Return the metrics that aren't tallies: learning rates, and skipped updates and examples."""
        return {**learning_rates(self._optimizer), **self._skipped(), **self.loop.skipped_examples.take()}

    def drain(self) -> Drained:
        """Return the metrics' sums since the last drain."""
        return self._sums.drain()

    def loss_of_update(self) -> float:
        """Run the steps of an update; returns their loss, NaN if one of them wasn't finite."""
        finite = self.loop.run(self.progress.step, self._settings.gradient_accumulation)
        values, _ = self.registry.finish(self.drain().tallies(), 0.0)
        return float(values["loss"]) if finite else math.nan

    def with_batch_size(self, size: int) -> TrainSession:
        """Return a session of the same model and optimizer, at its first step, on larger or smaller global batches."""
        return TrainSession(
            trained=Trained(self.task, self.model, self._optimizer),
            strategy=self.strategy,
            dataset=self._dataset.with_batch_size(size),
            progress=Progress(Best(None, None)),
            settings=self._settings,
            loop_length=self.loop_length,
            actions=self._actions,
        )

    @property
    def steps_summed(self) -> int:
        """The number of steps in the sums that `drain` would return."""
        return self._sums.steps

    def summarize(self, step: int, seconds: float) -> Summary:
        """Finish the metrics since the last drain, which span so many seconds."""
        return summarize(self.registry, self.drain(), step, "train", seconds, self.known())

    def _skipped(self) -> dict[str, float]:
        """Return the updates skipped since the last call as the metric `skipped`, where skipping is allowed; log them."""
        skips = self.loop.skips
        if not skips.allowed:
            return {}
        counts = skips.take()
        if any(counts.values()):
            where = f"the last at step {skips.last + 1}: {self.feed.describe(skips.last)}"
            for name, count in counts.items():
                if count:
                    of = f" of {name}" if name else ""
                    told = "%d updates%s were skipped, as the loss or a gradient was not finite; %s."
                    logging.warning(told, count, of, where)
        return {f"skipped/{name}" if name else "skipped": float(count) for name, count in counts.items()}

    def _warn_of_other_replicas(self) -> None:
        """Warn of layers that cannot continue exactly on another number of replicas, as their results depend on it."""
        before, now = self._sums.accumulator.restored_replicas, self.strategy.num_replicas_in_sync
        dependent = replica_dependent_layers(self.model) if before != now else []
        if dependent:
            logging.warning(
                "The checkpoint was written by %d replicas, and there are %d: %s will not continue exactly. Layers that do are "
                "models.InvariantDropout and BatchNormalization(synchronized=True).",
                before,
                now,
                ", ".join(dependent),
            )


class MetricSums:
    """The accumulated train metrics, and the step at which their sums begin. A part of the checkpoint.

    Args:
      accumulator: adds the metrics up.
      progress: the current step.
    """

    def __init__(self, accumulator: Accumulator, progress: Progress):
        self.accumulator = accumulator
        self._progress = progress
        self._start = tf.Variable(tf.zeros([], tf.int64), trainable=False, name="summed_from")

    @property
    def steps(self) -> int:
        """The number of steps in the sums."""
        return self._progress.step - int(self._start.numpy())

    def start_here(self) -> None:
        """Let the sums begin at the current step."""
        self._start.assign(self._progress.step)

    def drain(self) -> Drained:
        """Return the sums since the last drain."""
        self.start_here()
        return self.accumulator.drain()

    def state(self) -> dict[str, Trackable]:
        """The sums, and the step at which they begin."""
        return {**self.accumulator.state(), "summed_from": self._start}

    def before_save(self) -> None:
        """Gather the replicas' sums."""
        self.accumulator.before_save()

    def after_restore(self) -> None:
        """Continue from the restored sums, or drop them if they belong to other metrics."""
        if not self.accumulator.after_restore():
            logging.warning("The checkpoint has other metrics: the next train summary starts at its step.")
            self.start_here()


class DataPosition:
    """The position in the train data. A part of the checkpoint.

    Args:
      feed: the train batches.
      progress: the step that the feed continues at.
      total: adds an int64 array up over the workers.
    """

    def __init__(self, feed: Feed, progress: Progress, total: Callable[[np.ndarray], np.ndarray]):
        self._feed = feed
        self._progress = progress
        self._total = total

    def state(self) -> dict[str, Trackable]:
        """The state of the feed besides the step: nothing for arrays, the iterator for a stream, or the places of its shards."""
        return {"data": tf.train.Checkpoint(**self._feed.checkpoint_items())}

    def before_save(self) -> None:
        """Let the workers exchange what only one of them knows; the state is in iterators and variables."""
        self._feed.before_save(self._total)

    def after_restore(self) -> None:
        """Continue at the restored step."""
        self._feed.seek(self._progress.step)
