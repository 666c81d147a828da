"""The compiled train steps: an inner loop in the graph, traced once for a whole run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from ..data.feed import Feed
from ..metrics.accumulator import Accumulator
from .data_errors import SkippedExamples, named
from .forward_state import ForwardState
from .gin_scope import carry
from .gradient_sums import GradientSums
from .plans import Plans
from .reduction import sum_over_replicas
from .replica_step import Contribution, ReplicaStep
from .share import Share, share_of
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
        self._forward_state = ForwardState()
        self._plans = Plans(feed, longest, jit_compile=compiles == "loop")
        self._lengths: dict[int, tf.Tensor] = {}  # making a constant takes longer than looking it up
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
        self._traced = self._run.get_concrete_function(*self._plans.specs, tf.TensorSpec([], tf.int64))

    def run(self, step: int, num_steps: int) -> bool:
        """Runs `num_steps` steps, from `step` on; returns whether it ran all of them.

        A step whose loss or gradient is not finite is without update. Where no more of these are allowed, it stops: the
        weights are those before that step, and `step` does not count it.
        """
        with named(self._feed, step):
            for span in self._feed.spans(step, num_steps):
                # The traced function itself: to find it by its arguments takes longer than a small step.
                if not self._traced(*self._plans.at(step, span), self._length(span)):
                    return False
                step += span
            return True

    def _length(self, span: int) -> tf.Tensor:
        if span not in self._lengths:
            self._lengths[span] = tf.constant(span, tf.int64)
        return self._lengths[span]

    def hold(self) -> None:
        """Before a checkpoint: copies what is summed on the devices to where `state` has it."""
        self._accumulator.hold()
        for total in self._sums.state():
            total.hold()

    def release(self) -> bool:
        """After a restore: goes on from those sums; returns False if the metrics are others, and start anew."""
        for total in self._sums.state():
            total.release()
        return self._accumulator.release()

    @property
    def forward_variables(self) -> list[keras.Variable]:
        """What the forward pass changes: moving statistics and seeds; known once the loop was traced."""
        return self._forward_state.variables

    @property
    def restored_replicas(self) -> int:
        """After a restore and before `release`: how many replicas the checkpoint is of."""
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

    def _loop(self, plan: Any, begin: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
        first = self._step.read_value()
        done, goes_on = self._steps(plan, begin, first, num_steps)
        self._step.assign_add(done)
        return goes_on

    def _all_steps(
        self, plan: Any, begin: tf.Tensor, first: tf.Tensor, num_steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how many steps were done, and whether the run goes on."""

        def more(i, goes_on):
            return goes_on & (i < num_steps)

        def body(i, _):
            goes_on = self._one_step(plan, first + i - begin, first + i)
            return i + tf.cast(goes_on, tf.int64), goes_on

        return tuple(tf.while_loop(more, body, [tf.constant(0, tf.int64), tf.constant(True)]))

    def _one_step(self, plan: Any, place: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        part, examples = self._feed.fetch(plan, place)
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
        return self._differentiate(batch, share_of(index, context.num_replicas_in_sync, rows, examples))

    def _contribution(self, batch: Any, share: Share) -> Contribution:
        return self._replica_step.differentiate(batch, share, self._variables, self._scale_loss, self._forward_state)
