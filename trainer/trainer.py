"""The Trainer: composes the parts of a run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import gin
import keras
import tensorflow as tf
from absl import logging

from ..data import Input
from ..metrics.errors import UsageError
from ..metrics.writers import Summary
from . import arguments
from .checkpointing import restore as checkpoints
from .checkpointing.folder import CheckpointFolder
from .checkpointing.initial_weights import load_weights
from .checkpointing.retention import Best, Retention
from .distribution import workers
from .loop import folder_lock as lock
from .loop.evaluation import Evaluation
from .loop.folder_lock import check_writable
from .loop.invariance import Comparison, compare
from .loop.prediction import first_batch, predict
from .loop.progress import Progress
from .loop.rollbacks import Rollbacks
from .loop.run import Run
from .loop.run_writer import CHECKPOINTS, Nowhere, Outputs
from .loop.schedule import LoopLength, Schedule
from .loop.training import Training
from .model.averaged_weights import AveragedWeights
from .model.building import build_model, noted
from .model.layers import freeze
from .model.optimizers import adopt
from .task import Task


@gin.register(module="tallyloop")
class Trainer:
    """Trains and evaluates a task: the loop, in one screen.

        restore the newest checkpoint, if there is one
        until train_steps:
            run train steps in the graph, up to the next event
            every summary_interval:     write the train metrics
            every eval_interval:        evaluate on every eval dataset, write its metrics
            every checkpoint_interval:  save
        and all three at the end

    Everything is built at the first use, so constructing one is cheap and writes nothing.

    Args:
      task: the model and its loss.
      optimizer: a Keras optimizer, unbuilt, made anywhere; or a function that makes one. Only training needs it.
      strategy: a `tf.distribute.Strategy`, or a function that makes one; None is `one_device()`.
      train_dataset: what to train on.
      eval_datasets: name -> what to evaluate on.
      train_steps: how many steps, one global batch each, in all; a rerun continues up to it.
      steps_per_loop: the most steps that run in the graph without returning to Python; an interval that ends earlier cuts a
        loop short. "auto" begins with one step, and finds how many it takes to make the cost of returning vanish, but
        returns about once a second to see whether the run is to stop. The results do not depend on it.
      summary_interval: steps between two points of a train metric: the mean over those steps.
      eval_interval: steps between evaluations.
      checkpoint_interval: steps between checkpoints.
      keep_checkpoints: how many of the newest checkpoints to keep.
      keep_every: keep the checkpoints at multiples of so many steps for good, a multiple of `checkpoint_interval`; None keeps
        none.
      best_metric: an eval metric, as NAME, or DATASET/NAME with several datasets. The checkpoint where it was best is saved
        at once and kept, and `checkpoints/best.json` names it. None looks for no best.
      best_mode: "max" or "min": which value of `best_metric` is better; it is never guessed.
      seed: of the weights and of dropout; None draws one.
      deterministic: use TensorFlow's deterministic kernels only, so that a run on a GPU repeats bit for bit; slower. It
        is a setting of the whole process, and needs a `seed`.
      jit_compile: compile with XLA: on one CPU and data in memory the whole inner loop, else forward and backward.
      gradient_accumulation: how many steps make one update: sums over their examples, divided by their count.
      clip_global_norm: the largest norm of the whole (reduced) gradient; None does not clip.
      freeze: regular expressions; layers whose path or name begins with a match are not trained.
      initial_weights: a checkpoint, or a .keras file, that a new run takes its first weights from, where names and shapes
        agree. What was and was not loaded is logged. A run that continues does not look at it.
      initial_weights_map: regular expression -> replacement, applied to the names in `initial_weights`, in order.
      on_nonfinite: what to do when the loss or a gradient is NaN or infinite, always before the update. "halt" stops the run
        and names the step; "skip" leaves the update out and counts it as the metric `skipped`; "rollback" goes back to the
        weights and the optimizer of the last checkpoint, and goes on with the batch after the bad one.
      max_consecutive_skips: so many updates in a row may be skipped, or rolled back, before the run stops: more are no
        accident of the data.
      actions: each is called as `action(trainer, summary)` after every train and eval summary, on every worker.
      model_dir: where the run writes, and what a rerun continues; None writes nothing.

    Raises:
      UsageError: an argument is wrong; the message names it.
    """

    def __init__(
        self,
        task: Task,
        optimizer: keras.optimizers.Optimizer | Callable[[], keras.optimizers.Optimizer] | None = None,
        strategy: tf.distribute.Strategy | Callable[[], tf.distribute.Strategy] | None = None,
        train_dataset: Input | None = None,
        eval_datasets: Mapping[str, Input] | None = None,
        train_steps: int = 1000,
        steps_per_loop: int | Literal["auto"] = "auto",
        summary_interval: int = 100,
        eval_interval: int = 1000,
        checkpoint_interval: int = 1000,
        keep_checkpoints: int = 3,
        keep_every: int | None = None,
        best_metric: str | None = None,
        best_mode: str | None = None,
        seed: int | None = 0,
        deterministic: bool = False,
        jit_compile: bool = False,
        gradient_accumulation: int = 1,
        clip_global_norm: float | None = None,
        freeze: Sequence[str] = (),
        initial_weights: str | Path | None = None,
        initial_weights_map: Mapping[str, str] | None = None,
        on_nonfinite: str = "halt",
        max_consecutive_skips: int = 10,
        actions: Sequence[Callable[[Any, Summary], None]] = (),
        model_dir: str | Path | None = None,
    ):
        self._task = arguments.as_task(task)
        self._optimizer = optimizer
        self._strategy = strategy
        self._train_dataset = None if train_dataset is None else arguments.as_input("train_dataset", train_dataset)
        self._eval_datasets = arguments.as_inputs(eval_datasets)
        self._schedule = Schedule(
            train_steps=arguments.positive("train_steps", train_steps),
            summary_interval=arguments.positive("summary_interval", summary_interval),
            eval_interval=arguments.positive("eval_interval", eval_interval),
            checkpoint_interval=arguments.positive("checkpoint_interval", checkpoint_interval),
        )
        self._loop_length = LoopLength(arguments.steps_per_loop(steps_per_loop), self._schedule.longest_loop)
        self._retention = Retention(
            arguments.positive("keep_checkpoints", keep_checkpoints),
            arguments.keep_every(keep_every, checkpoint_interval),
            Best(*arguments.best(best_metric, best_mode, self._eval_datasets)),
        )
        self._seed = arguments.seed(seed)
        self._jit_compile = jit_compile
        arguments.make_deterministic(deterministic, self._seed)
        self._accumulation = arguments.positive("gradient_accumulation", gradient_accumulation)
        self._clip_global_norm = arguments.positive_or_none("clip_global_norm", clip_global_norm)
        self._freeze = arguments.patterns("freeze", freeze)
        self._initial_weights = initial_weights
        self._initial_weights_map = arguments.replacements("initial_weights_map", initial_weights_map)
        self._on_nonfinite = arguments.on_nonfinite(on_nonfinite, model_dir)
        self._max_skips = arguments.positive("max_consecutive_skips", max_consecutive_skips)
        self._actions = arguments.as_actions(actions)
        self._model_dir = None if model_dir is None else Path(model_dir)
        self._loaded: str | None = None  # "model": weights alone, to evaluate; "all": what training continues from
        if self._model_dir is not None:
            check_writable(self._model_dir)

    @cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """The replicas."""
        return arguments.as_strategy(self._strategy)

    @cached_property
    def model(self) -> keras.Model:
        """The Keras model, built; its weights are those of the last step done."""
        if self._seed is not None:
            keras.utils.set_random_seed(self._seed)
        inputs = [self._train_dataset, *self._eval_datasets.values()]
        model = build_model(self._task, self.strategy, next((each for each in inputs if each is not None), None))
        freeze(model, self._freeze)
        return model

    @property
    def step(self) -> int:
        """The train steps done."""
        return int(self._step.numpy())

    @property
    def train_steps(self) -> int:
        """The step at which training ends."""
        return self._schedule.train_steps

    @property
    def eval_datasets(self) -> Mapping[str, Input]:
        """Name -> what is evaluated."""
        return self._eval_datasets

    def train_and_eval(self) -> dict[str, dict[str, Any]]:
        """Trains up to `train_steps`, evaluating on the way and at the end.

        Returns:
          What the last evaluation gave, as `evaluate`; empty if there was nothing left to do.

        Raises:
          UsageError: an argument, the data or a checkpoint does not fit; nothing has been written then.
          NonFiniteError: the loss or a gradient became NaN or infinite.
        """
        return self._fit(self._evaluation)

    def train(self) -> None:
        """Trains up to `train_steps` without evaluating. Raises what `train_and_eval` does."""
        self._fit(None)

    def evaluate(self, checkpoint: str | None = None) -> dict[str, dict[str, Any]]:
        """Evaluates on every eval dataset, each example once.

        Args:
          checkpoint: whose weights to take; None takes those of the last step, trained here or restored.

        Returns:
          Dataset name -> metric path -> value.
        """
        return {name: dict(summary.metrics) for name, summary in self.summaries(checkpoint).items()}

    def summaries(self, checkpoint: str | None = None) -> dict[str, Summary]:
        """Like `evaluate`, with the step, the counts and the time it took; what the writers take."""
        if not self._eval_datasets:
            raise UsageError('Trainer.eval_datasets is empty: bind what to evaluate, {"test": @test/Input()}.')
        with self._weights_of(checkpoint):
            return self._evaluation.run(self.step)

    def predict(self, dataset: Input, checkpoint: str | None = None) -> Any:
        """Returns `Task.predict_step` of every example, in order, as a nest of NumPy arrays."""
        with self._weights_of(checkpoint):
            return predict(self._task, self.model, dataset.open_eval())

    def export(self, folder: str | Path | None = None, checkpoint: str | None = None) -> Path:
        """Writes the model by `Task.export`; returns the folder, `model_dir/export` by default."""
        if folder is None and self._model_dir is None:
            raise UsageError("Trainer.export: give a folder, as there is no model_dir.")
        target = Path(folder) if folder is not None else self._model_dir / "export"
        with self._weights_of(checkpoint):
            if workers.is_chief(self.strategy):
                target.mkdir(parents=True, exist_ok=True)
                self._task.export(self.model, target)
        workers.wait_for_all(self.strategy)
        return target

    def prepare(self, train: bool = True, evaluate: bool = True) -> None:
        """Builds, traces and restores everything, and writes nothing: mistakes show here, before the first step."""
        if tf.distribute.has_strategy():
            raise UsageError(
                "Call the Trainer outside of any `with strategy.scope():`; it enters its own where needed."
            )
        if train:
            with noted("Trainer.train_dataset"):
                self._training.trace()
        if evaluate:
            self._evaluation.trace()
            self._retention.best.check_name(self._evaluation.paths)
        if train:
            self._resume()

    def dry_run(self, train: bool = True, evaluate: bool = True) -> list[Summary]:
        """Runs one train step, and one eval step of each dataset, on the real data; writes nothing.

        Raises:
          NonFiniteError: the loss or a gradient is not finite.
        """
        self.prepare(train, evaluate)
        summaries = []
        if train:
            started = time.monotonic()
            if not self._training.loop.run(self.step, 1):
                raise self._training.non_finite_error(self._training.not_finite())
            summaries.append(self._training.summarize(self.step, time.monotonic() - started))
        return [*summaries, *(self._evaluation.run(self.step, max_batches=1).values() if evaluate else ())]

    def check(self) -> list[Comparison]:
        """Compares metrics and gradient of the task on one replica with those on three uneven ones.

        Needs three (virtual) CPU devices. Returns one comparison a number; see `invariance.compare`.
        """
        with self._weights_of(None):
            return compare(self._task, self.model, self._train_dataset, self._eval_datasets)

    @property
    def traces(self) -> dict[str, int]:
        """How often each compiled loop was traced: "train", and "eval/NAME"."""
        loops = {f"eval/{name}": count for name, count in self._evaluation.traces.items()}
        return {"train": self._training.loop.traces, **loops} if self._train_dataset else loops

    @cached_property
    def _step(self) -> tf.Variable:
        return tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    @cached_property
    def _training(self) -> Training:
        for name, value in (("train_dataset", self._train_dataset), ("optimizer", self._optimizer)):
            if value is None:
                raise UsageError(f"Trainer.{name} is needed to train, and nothing is bound to it.")
        arguments.enough_examples("Trainer.train_dataset", self._train_dataset, self.strategy.num_replicas_in_sync)
        self._check_data("Trainer.train_dataset", self._train_dataset)
        return Training(
            task=self._task,
            model=self.model,
            optimizer=self._built_optimizer,
            strategy=self.strategy,
            dataset=self._train_dataset,
            step=self._step,
            progress=Progress(self._retention.best),
            accumulation=self._accumulation,
            allowed_skips=self._max_skips if self._on_nonfinite == "skip" else 0,
            clip_global_norm=self._clip_global_norm,
            jit_compile=self._jit_compile,
            longest_loop=self._loop_length.longest,
        )

    @cached_property
    def _built_optimizer(self) -> keras.optimizers.Optimizer:
        return adopt(self._optimizer, self.strategy, self.model.trainable_variables)

    @cached_property
    def _averaged(self) -> AveragedWeights:
        return AveragedWeights(self._built_optimizer if self._optimizer is not None else None)

    @cached_property
    def _evaluation(self) -> Evaluation:
        for name, dataset in self._eval_datasets.items():
            self._check_data(f"Trainer.eval_datasets[{name!r}]", dataset)
        feeds = {name: dataset.open_eval() for name, dataset in self._eval_datasets.items()}
        return Evaluation(self._task, self.model, self.strategy, feeds)

    def _check_data(self, where: str, dataset: Input) -> None:
        arrays = dataset.arrays
        data = first_batch(dataset) if arrays is None else arrays
        self._task.check_data(self.model, data, where)
        if arrays is None and self._seed is not None:
            workers.check_same(self.strategy, where, data)

    def _resume(self) -> None:
        """Continues from the newest checkpoint, unless that or training has happened already."""
        if self._loaded != "all" and self._checkpoint_folder is not None:
            folder = CheckpointFolder(self._checkpoint_folder)
            if lock.is_held(self._model_dir):
                folder.recover()
            workers.wait_for_all(self.strategy)
            self._training.restore_newest(folder)
            self._check_same_step()
        self._load_initial_weights()
        self._loaded = "all"

    def _load_initial_weights(self) -> None:
        """Loads them into a run that is at its start, and only then."""
        if self._loaded is None and self.step == 0 and self._initial_weights is not None:
            load_weights(self.model, self._initial_weights, self._initial_weights_map)

    def _check_same_step(self) -> None:
        """Workers that do not share their storage would restore different checkpoints, or none."""
        steps = workers.exchange(self.strategy, str(self.step))
        differing = [f"worker {i} at step {step}" for i, step in enumerate(steps) if step != steps[0]]
        if differing:
            raise UsageError(
                f"The workers continue from different checkpoints: the chief at step {steps[0]}, {', '.join(differing)}. "
                f"{self._model_dir} must be on storage that all workers share."
            )

    @contextlib.contextmanager
    def _weights_of(self, checkpoint: str | None) -> Iterator[None]:
        """Within it, the weights and the step are those of a checkpoint: the given one, or, in a trainer that has not
        trained or loaded yet, the newest. A trainer that has trained gets its own back afterwards. Where the optimizer
        keeps averages of the weights, these are used."""
        if checkpoint is None and self._loaded is None and self._checkpoint_folder is not None:
            checkpoint = checkpoints.latest(self._checkpoint_folder)
        kept = self._evaluated_variables if checkpoint and self._loaded == "all" else []
        values = [variable.numpy() for variable in kept]
        if checkpoint is not None:
            state = checkpoints.model_state(self._task, self.model, self._step, self._averaged.optimizer)
            checkpoints.restore(state, str(checkpoint))
            if self._averaged.optimizer is None and checkpoints.has_averages(str(checkpoint)):
                logging.warning(
                    "%s has averages of the weights, and they are not used: Trainer.optimizer is none with use_ema=True.",
                    checkpoint,
                )
        else:
            self._load_initial_weights()
        self._loaded = self._loaded or "model"
        try:
            with self._averaged.in_use():
                yield
        finally:
            for variable, value in zip(kept, values, strict=True):
                variable.assign(value)

    @property
    def _evaluated_variables(self) -> list:
        optimizer = self._averaged.optimizer
        owned = checkpoints.owned_variables(self._task)
        return [*self.model.variables, *owned, self._step, *(optimizer.variables if optimizer else ())]

    @property
    def _checkpoint_folder(self) -> Path | None:
        return None if self._model_dir is None else self._model_dir / CHECKPOINTS

    def _fit(self, evaluation: Evaluation | None) -> dict[str, dict[str, Any]]:
        chief = workers.is_chief(self.strategy)
        locks = self._model_dir is not None and chief
        with contextlib.ExitStack() as stack:
            if locks and self._model_dir.exists():  # before a checkpoint is read
                stack.enter_context(lock.held(self._model_dir))
            self.prepare(evaluate=evaluation is not None)
            if locks:  # makes a new folder, once nothing can be wrong any more
                stack.enter_context(lock.held(self._model_dir))
            evaluated = stack.enter_context(self._run(evaluation, chief)).to_the_end()
        workers.wait_for_all(self.strategy)  # a worker that exits early would take the others down
        return evaluated

    def _run(self, evaluation: Evaluation | None, chief: bool) -> Run:
        writes = self._model_dir is not None and chief
        return Run(
            trainer=self,
            training=self._training,
            evaluation=evaluation,
            averaged=self._averaged,
            schedule=self._schedule,
            loop_length=self._loop_length,
            saves=self._model_dir is not None,
            outputs=Outputs(self._model_dir, self._training.state(), self._retention) if writes else None,
            stream=sys.stdout if chief else Nowhere(),
            agree=partial(workers.any_of, self.strategy),
            is_alone=not workers.is_multi_worker(self.strategy),
            rollbacks=Rollbacks(
                self.strategy,
                CheckpointFolder(self._checkpoint_folder) if self._model_dir else None,
                self._max_skips if self._on_nonfinite == "rollback" else 0,
                self._accumulation,
            ),
            global_batch_size=self._train_dataset.global_batch_size,
            actions=self._actions,
        )
