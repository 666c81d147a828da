"""The compiled train steps: an inner loop in the graph, traced once for a whole run."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import partial
from itertools import accumulate
from typing import Any

import keras
import tensorflow as tf

from ...data.feeds.feed import Feed
from ...data.feeds.replica_share import ReplicaShare
from ...metrics.device.accumulator import Accumulator
from ...metrics.errors import UsageError
from .batches import Fetching, Plans, SkippedExamples, Totals, named
from .forward_state import ForwardState
from .gradient_sums import GradientSums
from .reduction import sum_over_replicas
from .replica import carry
from .replica_step import Contribution, ReplicaStep
from .skips import Skips
from .update import Update


class TrainLoop:
    """Runs train steps, many in one call.

        for each step:                             # in the graph, on the device
            batch = the step's batch
            in each replica:
                sums of losses, gradients, metrics over its share of the batch
            add up over replicas, divide by the global count, check, clip, apply
            assign the moving statistics and seeds

    Args:
      replica_step: what a replica does.
      update: what is done with the reduced sums.
      accumulator: where the metrics of the steps add up, until the next summary.
      strategy: the replicas.
      feed: the train batches.
      variables: the trainable variables.
      scale_loss: the optimizer's loss scaling.
      step: int64 scalar variable, the steps done so far; advanced by `run`.
      accumulation: how many steps' gradients are added up before each update.
      allowed_skips: how many updates in a row may be left out because the loss or a gradient is not finite.
      longest: the most steps of a run.
      compiles: what XLA compiles: nothing, or "replica", its forward and backward, or all steps of the "loop", which then
        must be on one replica, and of a feed that is `even`.
    """

    def __init__(
        self,
        *,
        replica_step: ReplicaStep,
        update: Update,
        accumulator: Accumulator,
        strategy: tf.distribute.Strategy,
        feed: Feed,
        variables: list,
        scale_loss: Callable[[tf.Tensor], tf.Tensor],
        step: tf.Variable,
        accumulation: int = 1,
        allowed_skips: int = 0,
        longest: int,
        compiles: str | None = None,
    ):
        self._replica_step = replica_step
        self._update = update
        self._accumulator = accumulator
        self._strategy = strategy
        self._feed = feed
        self._variables = variables
        self._scale_loss = scale_loss
        self._step = step
        self._sums = GradientSums(strategy, accumulation)
        self.skips = Skips(allowed_skips)
        self.skipped_examples = SkippedExamples(feed)
        self.fetching = Fetching(feed)
        self._forward_state = ForwardState()
        self._plans = Plans(feed, longest, jit_compile=compiles == "loop")
        self._compiled: set[Hashable] = set()  # the kinds of steps that have run
        compiled = partial(tf.function, autograph=False, jit_compile=True)
        self._differentiate = compiled(self._contribution) if compiles == "replica" else self._contribution
        self._steps = compiled(self._all_steps) if compiles == "loop" else self._all_steps
        self._run = tf.function(self._loop, autograph=False)

    @property
    def traces(self) -> int:
        """How often the loop was traced; 1 after any run."""
        return self._run.experimental_get_tracing_count()

    @property
    def graph(self) -> tf.Graph:
        """The loop as it was traced."""
        return self._traced.graph

    def trace(self) -> None:
        """Traces the loop without running a step, so that errors of the task show before anything is written."""
        self._traced = self._run.get_concrete_function(*self._plans.specs)

    def run(self, step: int, num_steps: int, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Runs `num_steps` steps, from `step` on; returns whether it ran all of them.

        A step whose loss or gradient is not finite is without update. Where no more of these are allowed, it stops: the
        weights are those before that step, and `step` does not count it.

        Args:
          step: the steps done before.
          num_steps: at least 1.
          meanwhile: what the host has to do; called once the steps are on their way to the device.
        """
        spans = self._feed.spans(step, num_steps)
        first, *others = zip(accumulate(spans, initial=step), spans, strict=False)
        goes_on = self._start(*first)
        meanwhile()
        return self._went_on(step, goes_on) and all(self._went_on(step, self._start(*span)) for span in others)

    def compiled_steps(self, step: int, num_steps: int) -> int:
        """How many of these steps will run at once; the one behind them has to be compiled first."""
        compiled = 0
        for span in self._feed.spans(step, num_steps):
            if self._feed.kind(step + compiled) not in self._compiled:
                break
            compiled += span
        return compiled

    def _start(self, step: int, num_steps: int) -> tf.Tensor:
        self._compiled.add(self._feed.kind(step))
        with named(self._feed, step):
            try:
                # The traced function itself: to find it by its arguments takes longer than a small step.
                return self._traced(*self._plans.at(step, num_steps))
            except tf.errors.InvalidArgumentError as error:
                refused = cannot_compile(error)
                if refused is None:
                    raise
                raise refused from error

    def _went_on(self, step: int, goes_on: tf.Tensor) -> bool:
        with named(self._feed, step):  # an accelerator's errors show only here
            return bool(goes_on)

    def before_save(self) -> None:
        """Before a checkpoint: copies what is summed on the devices to where `state` has it."""
        self._accumulator.before_save()
        for total in self._sums.state():
            total.before_save()

    def after_restore(self) -> bool:
        """After a restore: goes on from those sums; returns False if the metrics are others, and start anew."""
        for total in self._sums.state():
            total.after_restore()
        self.skips.restored()
        return self._accumulator.after_restore()

    @property
    def forward_variables(self) -> list[keras.Variable]:
        """What the forward pass changes: moving statistics and seeds; known once the loop was traced."""
        return self._forward_state.variables

    @property
    def restored_replicas(self) -> int:
        """After a restore and before `after_restore`: how many replicas the checkpoint is of."""
        return self._accumulator.restored_replicas

    def state(self) -> dict[str, Any]:
        """What of the sums a checkpoint has to hold; known once the loop was traced."""
        gradient_sums = {str(i): total.rows for i, total in enumerate(self._sums.state())}
        return {
            **self._accumulator.state(),
            "gradient_sums": tf.train.Checkpoint(**gradient_sums),
            "skips": self.skips.state(),
            "skipped_examples": self.skipped_examples.state(),
        }

    def _loop(self, plan: Any, bounds: tf.Tensor) -> tf.Tensor:
        begin, num_steps = tf.unstack(bounds)
        done, goes_on, totals = self._steps(plan, begin, self._step.read_value(), num_steps)
        self._step.assign_add(done)
        self.fetching.count(done, done + tf.cast(~goes_on, tf.int64), totals)
        return goes_on

    def _all_steps(
        self, plan: Any, begin: tf.Tensor, first: tf.Tensor, num_steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Totals]:
        """Returns how many steps were done, whether the run goes on, and what fetching their batches took."""
        last = first + num_steps

        def more(step, goes_on, _):
            return goes_on & (step < last)

        def body(step, _, totals):
            part, examples, totals = self.fetching.fetch(plan, step - begin, totals)
            goes_on = self._one_step(part, examples, step)
            return step + tf.cast(goes_on, tf.int64), goes_on, totals

        step, goes_on, totals = tf.while_loop(more, body, (first, tf.constant(True), self.fetching.nothing()))
        return step - first, goes_on, totals

    def _one_step(self, part: Any, examples: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        self.skipped_examples.add(part)
        gradients, loss, packed, state = self._strategy.run(carry(self._replica), args=(part, examples))
        finite, updates = self._sums.add_and_maybe(step, gradients, loss, self._update.apply)
        # A step that stops the run keeps its metrics, which tell what is not finite.
        self._accumulator.add(packed, keep=finite if self.skips.allowed else None)
        self._forward_state.assign(sum_over_replicas(self._strategy, state), keep=finite)
        return self.skips.count(step, finite, updates)

    def _replica(self, part: Any, examples: tf.Tensor) -> Contribution:
        context = tf.distribute.get_replica_context()
        index = tf.cast(context.replica_id_in_sync_group, tf.int64)
        batch, rows = self._feed.shard(part, examples, index, context.num_replicas_in_sync)
        return self._differentiate(batch, ReplicaShare.of(index, context.num_replicas_in_sync, rows, examples))

    def _contribution(self, batch: Any, share: ReplicaShare) -> Contribution:
        return self._replica_step.differentiate(batch, share, self._variables, self._scale_loss, self._forward_state)


_MISSING = re.compile(r"No registered '(\w+)' OpKernel for XLA")


def cannot_compile(error: tf.errors.OpError) -> UsageError | None:
    """What to raise instead of TensorFlow's error; None if it is another."""
    operations = sorted(set(_MISSING.findall(error.message)))
    if not operations:
        return None
    return UsageError(
        f"Trainer.jit_compile = True: XLA has no {', '.join(operations)}, which the task's loss, the model or a metric uses. "
        "Do that part in Input.map_fn, or set Trainer.jit_compile = False."
    )
