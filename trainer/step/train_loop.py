"""The compiled train steps: an inner loop in the graph, traced once for a whole run."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import keras
import tensorflow as tf

from ...data.checks import map_arrays
from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ...metrics.errors import UsageError
from ..checkpointing.state import Part
from ..distribution.reduction import sum_over_replicas
from ..model.fused_batch_norm import fused_gradients
from ..user_code import Place
from .batches import Fetching, SkippedExamples, StepPlanner, StoppedBatch, Totals, data_errors_located, whole_batch
from .forward_state import ForwardState
from .gradient_sums import GradientSums
from .replica import OnlyShard, run_on_shards
from .replica_step import Contribution, ReplicaStep
from .skips import Skips, all_of
from .update import Updates, UpdateSettings


class TrainLoop:
    """Runs train steps, many in one call.

        for each step:                             # in the graph, on the device
            batch = the step's batch
            in each replica:
                sums of losses, gradients, metrics over its share of the batch
            add up over replicas, divide by the global count, check, clip, apply
            assign the moving statistics and seeds

    Args:
      replica_step: the forward and backward pass of one replica; its accumulator adds the metrics up until the next summary.
      updates: apply the reduced sums.
      strategy: the replicas.
      feed: the train batches.
      step: int64 scalar variable, the steps done so far; advanced by `run`.
      settings: the steps per update, and the updates in a row that may be skipped.
      longest: the most steps of a run.
      compiles: what XLA compiles: None, "replica" (its forward and backward pass), or, with one replica on a CPU, each "step"
        once its batch is there, or all steps of the "loop", for which the feed must be `even`.
    """

    def __init__(
        self,
        *,
        replica_step: ReplicaStep,
        updates: Updates,
        strategy: tf.distribute.Strategy,
        feed: Feed,
        step: tf.Variable,
        settings: UpdateSettings,
        longest: int,
        compiles: Literal["replica", "step", "loop"] | None = None,
    ):
        self._replica_step = replica_step
        self._updates = updates
        self._accumulator = replica_step.accumulator
        self._strategy = strategy
        self._compiles = compiles is not None
        several = strategy.num_replicas_in_sync > 1
        self._fused = (
            contextlib.nullcontext if self._compiles else partial(fused_gradients, replica_step.model, several)
        )
        self._feed = feed
        self._step = step
        self._steps_per_update = settings.gradient_accumulation
        self._sums = GradientSums(strategy, settings.gradient_accumulation)
        self.skips: Skips = Skips(settings.allowed_skips, updates.names)
        self.skipped_examples: SkippedExamples = SkippedExamples(feed, strategy)
        self.fetching: Fetching = Fetching(feed)
        self.stopped_batch: StoppedBatch = StoppedBatch(feed)
        self._forward_state = ForwardState()
        self._planner = StepPlanner(feed, longest, jit_compile=compiles == "loop")
        self._kinds_run: set[bool] = set()
        compiled = partial(tf.function, autograph=False, jit_compile=True)
        self._differentiate = compiled(self._contribution) if compiles == "replica" else self._contribution
        self._steps = compiled(self._all_steps) if compiles == "loop" else self._all_steps
        self._train_whole = compiled(partial(self._train, OnlyShard())) if compiles == "step" else None
        self._run = tf.function(self._loop, autograph=False)

    @property
    def traces(self) -> int:
        """The number of times the loop was traced; 1 after any run."""
        return self._run.experimental_get_tracing_count()

    @property
    def graph(self) -> tf.Graph:
        """The loop as it was traced."""
        return self._traced.graph

    @property
    def parts(self) -> list[Part]:
        """The parts of a checkpoint that the loop owns."""
        return [self._sums, self.skips, self.skipped_examples]

    @property
    def forward_variables(self) -> list[keras.Variable]:
        """The variables that the forward pass changes: moving statistics and seeds; known once the loop has been traced."""
        return self._forward_state.variables

    def trace(self) -> None:
        """Trace the loop without running a step, so that errors of the task show before anything is written.

        Raises:
          UsageError: XLA is to compile steps on strings; it would refuse them at the first step.
        """
        if self._compiles:
            _refuse_strings(self._feed.element_spec)
        self._traced = self._run.get_concrete_function()

    def run(self, step: int, num_steps: int, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Run `num_steps` steps, from `step` on; returns whether all of them ran.

        A step whose loss or gradient isn't finite makes no update. Where no more of these are allowed, the loop stops: the
        weights are those before that step, and `step` does not count it.

        Args:
          step: the steps done before.
          num_steps: at least 1.
          meanwhile: the host's work; called once the steps are on their way to the device.
        """
        spans = self._feed.spans(step, num_steps)
        first, *others = zip(accumulate(spans, initial=step), spans, strict=False)
        goes_on = self._start(*first)
        meanwhile()
        return self._finish(*first, goes_on) and all(self._finish(*span, self._start(*span)) for span in others)

    def update_by(self, feed: Feed, part: Any, examples: tf.Tensor) -> dict[int, tf.Tensor]:
        """In a graph, update the weights by one batch that isn't one of the run's, and change nothing else.

        Args:
          feed: cuts the batch into shards.
          part: the global batch, as `feed.fetch` returned it.
          examples: its size.

        Returns:
          The gradients of the losses, as of `Updates.apply_all`.
        """
        contributions = self._on_replicas(feed, part, examples, self._contribution)
        return self._updates.apply_all(sum_over_replicas(self._strategy, contributions.terms))

    @property
    def kinds(self) -> int:
        """The number of kinds of steps that have run, each of which XLA compiles by itself: full and short batches."""
        return len(self._kinds_run)

    def compiled_steps(self, step: int, num_steps: int) -> int:
        """Return how many of these steps can run at once; the one after them has to be compiled first."""
        compiled = 0
        for span in self._feed.spans(step, num_steps):
            if self._kind(step + compiled) not in self._kinds_run:
                break
            compiled += span
        return compiled

    def _kind(self, step: int) -> bool:
        return self._compiles and self._feed.kind(step)

    def _note_kinds(self, step: int, num_steps: int) -> None:
        self._kinds_run.add(self._kind(step))
        if self._compiles and len(self._kinds_run) < 2:
            self._kinds_run.update(map(self._kind, range(step, step + num_steps)))

    def _start(self, step: int, num_steps: int) -> tf.Tensor:
        self._note_kinds(step, num_steps)
        with data_errors_located(self._feed, step, partial(_place, self._feed, step, num_steps)):
            try:
                # The traced function itself: finding it by its arguments takes longer than a small step.
                self._planner.prepare(step, num_steps)
                return self._traced()
            except tf.errors.InvalidArgumentError as error:
                refused = _cannot_compile(error)
                if refused is None:
                    raise
                raise refused from error

    def _finish(self, step: int, num_steps: int, goes_on: tf.Tensor) -> bool:
        with data_errors_located(self._feed, step, partial(_place, self._feed, step, num_steps)):
            return bool(goes_on)  # an accelerator's errors show only here

    def _loop(self) -> tf.Tensor:
        plan, begin, num_steps = self._planner.plan()
        done, goes_on, totals = self._steps(plan, begin, self._step.read_value(), num_steps)
        self._step.assign_add(done)
        self.fetching.count(done, done + tf.cast(tf.logical_not(goes_on), tf.int64), totals)
        return goes_on

    def _all_steps(
        self, plan: Any, begin: tf.Tensor, first: tf.Tensor, num_steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Totals]:
        """Return the number of steps done, whether the run goes on, and the totals of fetching their batches."""
        last = first + num_steps

        def more(step, goes_on, _):
            return goes_on & (step < last)

        def body(step, _, totals):
            part, examples, totals = self.fetching.fetch(plan, step - begin, totals)
            goes_on = self._one_step(part, examples, step)
            self.stopped_batch.keep(goes_on, part, examples)
            return step + tf.cast(goes_on, tf.int64), goes_on, totals

        step, goes_on, totals = tf.while_loop(more, body, (first, tf.constant(True), self.fetching.zero_totals()))
        return step - first, goes_on, totals

    def _one_step(self, part: Any, examples: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return whether the run goes on."""
        self.skipped_examples.add(part)
        if self._train_whole is None:
            return self._train(self._feed, part, examples, step)
        return self._train_whole(whole_batch(self._feed, part, examples), examples, step)

    def _train(self, feed: Feed | OnlyShard, part: Any, examples: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        terms, packed, state = self._on_replicas(feed, part, examples, self._differentiate)
        due = self._updates.due(step, self._steps_per_update)
        apply = partial(self._updates.apply, due, self.skips.tolerated)
        finite, ends = self._sums.add_and_maybe(step, terms, apply, self.skips.shape)
        # A step that stops the run keeps its metrics, which tell what isn't finite.
        self._accumulator.add(packed, keep=all_of(finite) if self.skips.allowed else None)
        self._forward_state.assign(sum_over_replicas(self._strategy, state), keep=all_of(finite))
        return self.skips.count(step, finite, ends if due is None else ends & due)

    def _on_replicas(
        self, feed: Feed | OnlyShard, part: Any, examples: tf.Tensor, work: Callable[..., Contribution]
    ) -> Any:
        with self._replica_step.lookups(), self._fused():
            return run_on_shards(self._strategy, feed, part, examples, work)

    def _contribution(self, batch: Any, share: ReplicaShare) -> Contribution:
        return self._replica_step.differentiate(batch, share, self._updates.scale_of, self._forward_state)


def _place(feed: Feed, step: int, num_steps: int) -> Place:
    """Return where the steps are that follow `step`."""
    several = f"one of the steps {step + 1} to {step + num_steps} (Trainer.steps_per_loop = 1 tells which)"
    return Place("train", "Trainer.train_dataset", several if num_steps > 1 else f"step {step + 1}", feed=id(feed))


def _refuse_strings(batch: Any) -> None:
    names: list[str] = []
    map_arrays(lambda name, spec: names.append(repr(name)) if spec.dtype == tf.string else None, batch)
    if names:
        raise UsageError(
            f"Trainer.jit_compile = True: the train batch has strings, {', '.join(names)}, which XLA cannot be given. Make "
            "numbers of them in Input.map_fn, or leave them out there; or set Trainer.jit_compile = False."
        )


_MISSING = re.compile(r"No registered '(\w+)' OpKernel for XLA")


def _cannot_compile(error: tf.errors.OpError) -> UsageError | None:
    """Return the error to raise if XLA lacks an operation; None for any other error."""
    operations = sorted(set(map(str, _MISSING.findall(error.message or ""))))
    if not operations:
        return None
    return UsageError(
        f"Trainer.jit_compile = True: XLA has no {', '.join(operations)}, which the task's loss, the model or a metric uses. "
        "Do that part in Input.map_fn, or set Trainer.jit_compile = False."
    )
