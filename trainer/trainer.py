"""The Trainer: composes the parts of a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import gin
import keras
import tensorflow as tf

from ..data import Input
from ..metrics.errors import UsageError
from ..metrics.writers import Summary, Writer
from ..metrics.writers.better import Mode
from ..metrics.writers.run_files import CHECKPOINTS
from . import arguments
from .checkpointing.folder import CheckpointFolder
from .checkpointing.retention import Best, Retention
from .dashboard.description import describe_run
from .dashboard.given import remembering
from .distribution import workers
from .loop import folder_lock
from .loop.acting import Action, Actions
from .loop.board import Board
from .loop.console import console_of, last_lines
from .loop.evaluation import Evaluation
from .loop.host_loop import HostLoop
from .loop.invariance import Comparison, compare
from .loop.model_weights import InitialWeights, ModelWeights
from .loop.non_finite import Rollbacks, try_step
from .loop.progress import Progress
from .loop.run_record import RunFiles, RunRecord, recorded
from .loop.run_writer import run_writer
from .loop.schedule import LoopLength, Schedule
from .loop.steering import Steering
from .loop.train_session import Trained, TrainSession
from .model.averaged_weights import AveragedWeights
from .model.exporting import export
from .model.layers import another_model, build_model, freeze
from .model.optimizers import GivenOptimizer, Optimizers, build_optimizers
from .model.parameter_groups import GroupMaker, ParameterGroup, ParameterGroups
from .prediction.predicting import predict
from .replay.replaying import Replaying
from .replay.result import Replay
from .replay.run_folder import RunFolder
from .step.update import OnNonFinite, UpdateSettings
from .task import Task
from .user_code import Place, traced_on


@gin.register(module="tallyloop")
class Trainer(Steering):
    """Trains and evaluates a task. The loop, in one screen:

        restore the newest checkpoint, if there is one
        until train_steps:
            run train steps in the graph, up to the next event
            every summary_interval:     write the train metrics
            every eval_interval:        evaluate on every eval dataset, write its metrics
            every checkpoint_interval:  save
        and all three at the end

    Everything is built at first use, so constructing a Trainer is cheap and writes nothing.

    Args:
      task: the model and its loss.
      optimizer: a Keras optimizer, unbuilt, made anywhere; or a function that makes one. Needed only to train. For a task with
        several losses, a dict: name of the loss -> its optimizer.
      strategy: a `tf.distribute.Strategy`, or a function that makes one; None is `one_device()`.
      train_dataset: the data to train on.
      eval_datasets: name -> the data to evaluate on.
      train_steps: the total number of steps, one global batch each; a rerun continues up to it. None means 1,000, unless
        `train_epochs` is given.
      train_epochs: instead, the total number of passes over `train_dataset`, of arrays or rows by number.
      steps_per_loop: the most steps that run in the graph without returning to Python; an interval that ends earlier cuts a
        loop short. "auto" begins with one step, and finds how many it takes for the cost of returning to vanish, but
        returns about once a second to see whether the run should stop. The results don't depend on it.
      summary_interval: steps between two points of a train metric, each the mean over those steps.
      eval_interval: steps between evaluations.
      checkpoint_interval: steps between checkpoints.
      keep_checkpoints: how many of the newest checkpoints to keep.
      keep_every: keep the checkpoints at multiples of so many steps forever; a multiple of `checkpoint_interval`. None keeps
        none.
      best_metric: an eval metric, as NAME, or as DATASET/NAME with several datasets. The checkpoint where it was best is
        saved at once and kept, and `checkpoints/best.json` names it. None tracks no best.
      best_mode: "max" or "min": which value of `best_metric` is better; it is never guessed.
      seed: the seed of the weights and of dropout; None draws one.
      deterministic: use only TensorFlow's deterministic kernels, so that a run on a GPU repeats bit for bit; slower. It
        is a setting of the whole process, and needs a `seed`.
      jit_compile: compile with XLA: on one CPU the inner loop (data in memory, no convolution) or step; else forward, backward.
      gradient_accumulation: steps per update: the sums over their examples, divided by their count. A learning rate schedule
        counts updates, unlike with `gradient_accumulation_steps` of a Keras optimizer, where it counts steps.
      clip_global_norm: the largest norm of the whole (reduced) gradient, of each loss if there are several; None does not clip.
      update_every: of several losses, name -> n: the loss updates its variables at every n-th update of the run only (with
        `gradient_accumulation` of 1, in the steps n, 2n, ...); it is computed and recorded in every step. 1 if not named.
      freeze: regular expressions; layers whose path or name begins with a match are not trained.
      parameter_groups: variables with another learning rate or weight decay than the optimizer's, or that are not trained; each a
        `ParameterGroup`, or a function of the model that returns some, such as `layer_wise_decay()`.
      weight_decay_exclude: regular expressions; variables whose path has a match have no weight decay.
      initial_weights: a checkpoint, a .keras or .weights.h5 file, or a SavedModel, from which a new run takes its first weights,
        where names and shapes agree. What was and was not loaded is logged. A run that continues ignores it.
      initial_weights_map: regular expression -> replacement, applied to the names in `initial_weights`, in order.
      on_nonfinite: what to do when the loss or a gradient is NaN or infinite, always before the update. "halt" stops the run
        and names the step; "skip" skips the update and counts it as the metric `skipped`; "rollback" goes back to the
        weights and the optimizer of the last checkpoint, and continues with the batch after the bad one.
      max_consecutive_skips: the number of updates in a row that may be skipped, or rolled back, before the run stops: more
        than 10 are not an accident of the data.
      actions: each is called as `action(trainer, summary)` after every train and eval summary, on every worker. Its time is
        not training time. If it raises an error, the run is saved first. It may end the run by `trainer.stop`, and remember
        things in the checkpoints: see docs/actions.md.
      writers: are given every summary, besides `metrics.jsonl` and TensorBoard: see docs/writers.md.
      model_dir: the folder that the run writes to, and that a rerun continues; None writes nothing.

    Raises:
      UsageError: an argument is wrong; the message names it.
    """

    @remembering
    def __init__(
        self,
        task: Task,
        optimizer: GivenOptimizer | Mapping[str, GivenOptimizer] | None = None,
        strategy: tf.distribute.Strategy | Callable[[], tf.distribute.Strategy] | None = None,
        train_dataset: Input | None = None,
        eval_datasets: Mapping[str, Input] | None = None,
        train_steps: int | None = None,
        train_epochs: int | None = None,
        steps_per_loop: int | Literal["auto"] = "auto",
        summary_interval: int = 100,
        eval_interval: int = 1000,
        checkpoint_interval: int = 1000,
        keep_checkpoints: int = 3,
        keep_every: int | None = None,
        best_metric: str | None = None,
        best_mode: Mode | None = None,
        seed: int | None = 0,
        deterministic: bool = False,
        jit_compile: bool = False,
        gradient_accumulation: int = 1,
        clip_global_norm: float | None = None,
        update_every: Mapping[str, int] | None = None,
        freeze: Sequence[str] = (),
        parameter_groups: Sequence[ParameterGroup | GroupMaker] = (),
        weight_decay_exclude: Sequence[str] = (),
        initial_weights: str | Path | None = None,
        initial_weights_map: Mapping[str, str] | None = None,
        on_nonfinite: OnNonFinite = "halt",
        max_consecutive_skips: int = 10,
        actions: Sequence[Action] = (),
        writers: Sequence[Writer] = (),
        model_dir: str | Path | None = None,
    ):
        self._task = arguments.as_task(task)
        self._optimizer = optimizer
        self._strategy = strategy
        self._train_dataset = None if train_dataset is None else arguments.as_input("train_dataset", train_dataset)
        self._eval_datasets = arguments.as_inputs(eval_datasets)
        self._train_length = arguments.train_length(train_steps, train_epochs)
        self._intervals = {
            "summary_interval": arguments.positive("summary_interval", summary_interval),
            "eval_interval": arguments.positive("eval_interval", eval_interval),
            "checkpoint_interval": arguments.positive("checkpoint_interval", checkpoint_interval),
        }
        self._steps_per_loop: int | Literal["auto"] = arguments.steps_per_loop(steps_per_loop)
        self._retention = Retention(
            arguments.positive("keep_checkpoints", keep_checkpoints),
            arguments.keep_every(keep_every, checkpoint_interval),
            Best(*arguments.best(best_metric, best_mode, self._eval_datasets)),
        )
        self._seed = arguments.seed(seed)
        arguments.make_deterministic(deterministic, self._seed)
        self._settings = UpdateSettings(
            gradient_accumulation=arguments.positive("gradient_accumulation", gradient_accumulation),
            clip_global_norm=arguments.clip_global_norm(clip_global_norm),
            on_nonfinite=arguments.on_nonfinite(on_nonfinite, model_dir),
            max_consecutive_skips=arguments.positive("max_consecutive_skips", max_consecutive_skips),
            jit_compile=jit_compile,
            update_every=arguments.update_every(update_every, optimizer),
        )
        self._freeze = arguments.patterns("freeze", freeze)
        self._groups = ParameterGroups(parameter_groups, weight_decay_exclude)
        self._initial = InitialWeights(
            initial_weights, arguments.replacements("initial_weights_map", initial_weights_map)
        )
        super().__init__()
        self._actions = Actions(arguments.as_actions(actions), self, self._stop)
        self.run_files: RunFiles | None = None  # what describes the run in its folder, besides run.json
        self._outside = arguments.as_writers(writers)
        self._model_dir = None if model_dir is None else Path(model_dir)
        if self._model_dir is not None:
            folder_lock.check_writable(self._model_dir)

    @cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """The replicas."""
        return arguments.as_strategy(self._strategy)

    @cached_property
    def model(self) -> keras.Model:
        """The Keras model, built; its weights are those of the last step done."""
        if self._seed is not None:
            keras.utils.set_random_seed(self._seed)
        model = build_model(self._task, self.strategy, self._some_input)
        freeze(model, self._freeze)
        self._groups.freeze(model)
        return model

    def train_and_eval(self) -> dict[str, dict[str, Any]]:
        """Train up to `train_steps`, evaluating on the way and at the end.

        Returns:
          The result of the last evaluation, as from `evaluate`; empty if there was nothing left to do.

        Raises:
          UsageError: an argument, the data or a checkpoint does not fit; nothing has been written then.
          NonFiniteError: the loss or a gradient became NaN or infinite.
        """
        return self._fit(self._evaluation)

    def train(self) -> None:
        """Train up to `train_steps` without evaluating. Raises what `train_and_eval` does."""
        self._fit(None)

    def evaluate(self, checkpoint: str | None = None) -> dict[str, dict[str, Any]]:
        """Evaluate on every eval dataset, each example once.

        Args:
          checkpoint: the path of the checkpoint to evaluate, or "best" for that of `best_metric`; None takes the weights of the
            last step, trained here or restored.

        Returns:
          Dataset name -> metric path -> value.

        Raises:
          UsageError: there is no eval dataset, or the checkpoint does not fit.
        """
        return {name: dict(summary.metrics) for name, summary in self.summaries(checkpoint).items()}

    def summaries(self, checkpoint: str | None = None) -> dict[str, Summary]:
        """Evaluate like `evaluate`, and return what the writers take: dataset name -> metrics, counts, step and time.

        Raises:
          UsageError: as in `evaluate`.
        """
        if not self._eval_datasets:
            raise UsageError('Trainer.eval_datasets is empty: bind the data to evaluate on, {"test": @test/Input()}.')
        with self._weights.of(checkpoint, on_all_workers=True):
            return self._evaluation.run(self.step)

    def predict(self, dataset: Input, checkpoint: str | None = None, output: str | Path | None = None) -> Any:
        """Predict every example with `Task.predict_step`, in order, on all replicas. All workers must call this.

        Args:
          dataset: what to predict.
          checkpoint: as in `evaluate`.
          output: a file, .npz, .jsonl or .parquet, to write to as they come; the same call continues what was killed.

        Returns:
          A nest of NumPy arrays; with `output`, its path.

        Raises:
          UsageError: the task cannot predict, the checkpoint does not fit, or the file cannot hold the predictions.
        """
        given, target = arguments.to_predict(dataset), arguments.output_file(output)
        with self._weights.of(checkpoint, on_all_workers=True, purpose="predict"), self._averaged.in_use():
            return predict(self._task, self.model, self.strategy, given, target)

    def export(self, folder: str | Path | None = None, checkpoint: str | None = None) -> Path:
        """Write the model with `Task.export`, with the averages of its weights if there are any; return the folder.

        Args:
          folder: where to; None is `model_dir/export`. A previous export is replaced once the new one is complete.
          checkpoint: as in `evaluate`.

        Raises:
          UsageError: there is no folder, the checkpoint does not fit, or the model cannot be exported.
        """
        target = arguments.export_folder(folder, self._model_dir)
        with self._weights.of(checkpoint, on_all_workers=True, purpose="export"), self._averaged.in_use():
            if workers.is_chief(self.strategy):
                export(self._task, self.model, target, self._some_input)
        workers.finish_together(self.strategy)
        return target

    def prepare(self, train: bool = True, evaluate: bool = True) -> None:
        """Build, trace and restore what training and evaluating need, and write nothing: mistakes show here, before a step.

        Raises:
          UsageError: an argument, the data or a checkpoint does not fit.
        """
        if tf.distribute.has_strategy():
            raise UsageError("Call the Trainer outside any `with strategy.scope():`; it enters its own where needed.")
        if train:
            self._trace()
        if evaluate:
            self._evaluation.trace()
            self._retention.best.check_name(self._evaluation.paths)
        self._eval_metrics = self._evaluation.paths if evaluate else {}
        if train:
            self._actions.check()
            self._weights.continue_run(self._session)

    def dry_run(self, train: bool = True, evaluate: bool = True) -> list[Summary]:
        """Run one train step, and one eval step per dataset, on the real data; take a snapshot, and write nothing.

        Returns:
          The summaries of the train step, if `train`, and of the eval steps, if `evaluate`.

        Raises:
          UsageError: an argument, the data or a checkpoint does not fit, or something in the state cannot be saved.
          NonFiniteError: the loss or a gradient isn't finite.
        """
        self.prepare(train, evaluate)
        trained = [try_step(self._session, self._settings)] if train else []
        return [*trained, *(self._evaluation.run(self.step, max_batches=1).values() if evaluate else ())]

    def check(self) -> list[Comparison]:
        """Compare the task's metrics and gradient on one replica with those on three uneven ones.

        It needs three (virtual) CPU devices.

        Returns:
          One comparison per number; see `invariance.compare`.
        """
        with self._weights.of(None), self._averaged.in_use():
            return compare(self._task, self.model, self._train_dataset, self._eval_datasets)

    def replay(self, step: int) -> Replay:
        """Make a step of the run once more, and return all that happened in it. Writes nothing, and the Trainer stays as it is.

        Args:
          step: its number, from 1, as in messages and metrics.jsonl.

        Raises:
          UsageError: the run has not made that step, with this config, or the step cannot be reached.
        """
        number = arguments.positive("replay: step", step)
        self._trace()
        folder = None if self._model_dir is None else RunFolder(self._model_dir, self.run_files)
        repeats, steps_per_update = self._seed is not None, self._settings.gradient_accumulation
        replaying = Replaying(self._session, self._weights, self._schedule, folder, repeats, steps_per_update)
        return replaying.replay(number, lambda: another_model(self._task, self.strategy, self._some_input, self.model))

    @cached_property
    def _schedule(self) -> Schedule:
        return Schedule(train_steps=self._train_length.steps(self._train_dataset), **self._intervals)

    @cached_property
    def _progress(self) -> Progress:
        return Progress(self._retention.best)

    @cached_property
    def _session(self) -> TrainSession:
        dataset = arguments.needed_to_train("train_dataset", self._train_dataset)
        arguments.needed_to_train("optimizer", self._optimizer)
        arguments.enough_examples("Trainer.train_dataset", dataset, self.strategy.num_replicas_in_sync)
        self._check_data("Trainer.train_dataset", dataset, train=True)
        return TrainSession(
            trained=Trained(self._task, self.model, self._built_optimizer),
            strategy=self.strategy,
            dataset=dataset,
            progress=self._progress,
            settings=self._settings,
            loop_length=LoopLength(self._steps_per_loop, self._schedule.longest_loop),
            actions=self._actions,
        )

    @cached_property
    def _built_optimizer(self) -> Optimizers:
        return build_optimizers(self._optimizer, self.strategy, self._task, self.model, self._groups.prepare)

    @cached_property
    def _averaged(self) -> AveragedWeights:
        return AveragedWeights(self._built_optimizer if self._optimizer is not None else None)

    @cached_property
    def _evaluation(self) -> Evaluation:
        for name, dataset in self._eval_datasets.items():
            self._check_data(f"Trainer.eval_datasets[{name!r}]", dataset, train=False)
        place = workers.index_and_count(self.strategy)
        feeds = {name: dataset.open_eval(*place) for name, dataset in self._eval_datasets.items()}
        compiled = self._settings.jit_compile
        return Evaluation(self._task, self.model, self.strategy, feeds, lambda: self._averaged, compiled)

    @cached_property
    def _weights(self) -> ModelWeights:
        return ModelWeights(
            task=self._task,
            model=self.model,
            progress=self._progress,
            averaged=self._averaged,
            strategy=self.strategy,
            model_dir=self._model_dir,
            initial=self._initial,
        )

    def _trace(self) -> None:
        dataset = arguments.needed_to_train("train_dataset", self._train_dataset)
        with traced_on(Place("train", "Trainer.train_dataset"), lambda: dataset.element_spec):
            session = self._session  # which builds the model
        session.trace()

    def _check_data(self, where: str, dataset: Input, train: bool) -> None:
        arguments.check_data(self._task, self.model, self.strategy, where, dataset, train, self._seed is not None)

    def _fit(self, evaluation: Evaluation | None) -> dict[str, dict[str, Any]]:
        chief = workers.is_chief(self.strategy)
        with contextlib.ExitStack() as stack:
            if self._model_dir is not None and chief and self._model_dir.exists():  # before a checkpoint is read
                stack.enter_context(folder_lock.claimed(self._model_dir))
            self.prepare(evaluate=evaluation is not None)
            if self._model_dir is not None:
                self._session.try_snapshot()
            record = None
            if self._model_dir is not None and chief:  # creates a new folder, now that nothing can be wrong any more
                record = stack.enter_context(recorded(self._model_dir, self.run_files, lambda: self.stopped))
            evaluated = stack.enter_context(self._loop(evaluation, chief, record)).run()
        workers.finish_together(self.strategy)
        return evaluated

    @contextlib.contextmanager
    def _loop(self, evaluation: Evaluation | None, chief: bool, record: RunRecord | None) -> Iterator[HostLoop]:
        console = console_of(self, sys.stdout if chief else None, self._retention.best.side)
        folder = CheckpointFolder(self._model_dir / CHECKPOINTS) if self._model_dir else None
        describe = record and partial(describe_run, self, record)
        state, outcome = self._session.state, lambda: self.stopped
        with (
            contextlib.closing(console),
            run_writer(self._model_dir, state, self._retention, describe, outcome, self._outside) as writer,
            self._writing_to(Board(writer, lambda: self.step)),
        ):
            yield HostLoop(
                session=self._session,
                evaluation=evaluation,
                schedule=self._schedule,
                rollbacks=Rollbacks(self.strategy, folder, self._settings),
                writer=writer,
                console=console,
                last_lines=partial(last_lines, self, self._train_length, self._retention),
                actions=self._actions,
            )
