"""The host's loop: from the step it finds to the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...metrics.writers import ConsoleWriter, Summary
from ..distribution import preemption, workers
from ..errors import PreemptedError
from ..step.eval_loop import EvaluationStopped
from .evaluation import Evaluation
from .non_finite import Rollbacks
from .run_writer import NullWriter, RunWriter
from .schedule import LoopLength, Schedule
from .summaries import Summaries
from .timing import Timing
from .train_session import TrainSession


class HostLoop:
    """Trains, summarizes, evaluates and saves by a schedule.

    Args:
      session: what is trained, restored already.
      evaluation: what is evaluated; None never evaluates.
      schedule: when to do what.
      loop_length: how many steps run in the graph at once.
      rollbacks: what happens at a step that isn't finite.
      writer: writes the run.
      console: shows it.
      actions: called with each summary, after it was written.
    """

    def __init__(
        self,
        *,
        session: TrainSession,
        evaluation: Evaluation | None,
        schedule: Schedule,
        loop_length: LoopLength,
        rollbacks: Rollbacks,
        writer: RunWriter | NullWriter,
        console: ConsoleWriter,
        actions: Sequence[Callable[[Summary], None]],
    ):
        self._session = session
        self._evaluation = evaluation
        self._schedule = schedule
        self._loop_length = loop_length
        self._rollbacks = rollbacks
        self._writer = writer
        self._console = console
        self._summaries = Summaries(session.registry, [writer.write, console.write, *actions])
        self._acts = bool(actions)
        self._step = session.progress.step
        self._rolled_back = False
        self._timing = Timing(time.monotonic)
        self._timing.add("time/compile_s", session.trace_seconds)
        self._longer, self._shorter = False, False  # what this worker wants of the next loop
        self._evaluated: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """Run up to `train_steps`; returns the last evaluation, dataset -> metric -> value.

        Raises:
          PreemptedError: the run was asked to stop, and has saved its state.
          CheckpointError, OutputError: the run can no longer be written.
          NonFiniteError: the loss or a gradient became NaN or infinite.
        """
        end = self._schedule.train_steps
        self._writer.resume(self._step, self._needed)
        self._rollbacks.resume(self._session)
        nothing_to_go_back_to = self._session.progress.last_due_checkpoint < 0
        if self._rollbacks.allowed and nothing_to_go_back_to:
            self._save(due=True)
        if self._evaluation_is_left():
            self._after_step()
        elif self._step >= end:
            self._console.note(
                f"Nothing to do: {self._step} of {end} steps are done. Raise Trainer.train_steps to continue."
            )
        while self._step < end:
            self._train()
            self._summarize()
            self._after_step()
        self._summaries.settle()
        self._writer.settle()
        return self._evaluated

    def _evaluation_is_left(self) -> bool:
        """Return whether the run was stopped during the evaluation of the step that it continues from."""
        left = self._step > 0 and self._session.progress.evaluated != self._step
        return left and self._evaluation is not None and self._schedule.evaluates(self._step)

    def _train(self) -> None:
        self._longer = self._shorter = False
        wanted = self._schedule.loop_steps(self._step, self._loop_length.steps)
        steps = self._session.loop.compiled_steps(self._step, wanted)
        if self._loop(steps) if steps else self._compile():
            self._step += steps or 1
            self._rollbacks.forgive(self._session, self._step)
        else:
            self._roll_back()
        self._console.progress(self._step)

    def _compile(self) -> bool:
        """Run one step, which takes about as long as compiling it, and doesn't count as training time."""
        with self._console.paused(), self._timing.pause("time/compile_s"), self._session.loop.fetching.uncounted():
            return self._session.loop.run(self._step, 1, self._summaries.settle)

    def _loop(self, steps: int) -> bool:
        with self._timing.loop():
            finite = self._session.loop.run(self._step, steps, self._settle)
        timing = self._timing
        self._longer, self._shorter = self._loop_length.wishes(steps, timing.loop_seconds, timing.host_seconds)
        return finite

    def _settle(self) -> None:
        with self._timing.host():
            self._summaries.settle()

    def _roll_back(self) -> None:
        """Continue with the last checkpoint's weights and the next batch, if that is allowed; else raise the error."""
        self._writer.settle()
        self._rollbacks.go_back(self._session)
        self._step = self._session.progress.step
        self._rolled_back = True

    def _summarize(self) -> None:
        if not self._schedule.summarizes(self._step):
            return
        session = self._session
        seconds, times = self._timing.lap(session.loop.fetching.take(), session.steps_summed)
        self._summaries.defer(self._step, session.drain(), seconds, session.known(), times)
        if self._acts:  # at once, as what an action changes must not depend on the length of the next loop
            self._summaries.settle()

    def _after_step(self) -> None:
        """Evaluate and save when due, or when asked to stop; and stop then."""
        step, schedule = self._step, self._schedule
        due, self._rolled_back = schedule.saves(step) or self._rolled_back, False
        if self._evaluation is not None and schedule.evaluates(step):
            with self._saved_if_it_fails(due):
                due |= self._evaluate(self._evaluation)
        asked = preemption.requested(), self._writer.failing(), self._longer, self._shorter
        stops, fails, *change = self._agree(*asked)
        self._loop_length.change(*change)
        if self._writer.saves and (due or stops or fails):
            self._save(due)
        if stops:
            self._settle_together()
            raise PreemptedError(f"Stopped after step {step}.")

    def _agree(self, *mine: bool) -> list[bool]:
        """For each flag, return whether any worker set it; all workers call this at the same points."""
        return workers.any_of(self._session.strategy, *mine)

    @contextlib.contextmanager
    def _saved_if_it_fails(self, due: bool) -> Iterator[None]:
        """Save on an error in an evaluation if a save is due. One of several workers cannot save alone."""
        try:
            yield
        except Exception:
            if due and self._writer.saves and not workers.is_multi_worker(self._session.strategy):
                self._save(due)
            raise

    def _settle_together(self) -> None:
        """Return once the chief has written everything: a worker that ends earlier might report success too early."""
        self._writer.settle()
        self._agree(False)

    def _evaluate(self, evaluation: Evaluation) -> bool:
        """Evaluate, unless asked to stop; returns whether this is the best so far."""
        self._summaries.settle()
        try:
            with self._console.paused(), self._timing.pause():
                summaries = evaluation.run(
                    self._step,
                    stop=lambda: self._agree(preemption.requested())[0],
                    steps_per_call=self._loop_length.steps,
                )
        except EvaluationStopped:
            return False
        for name, summary in summaries.items():
            self._evaluated[name] = dict(summary.metrics)
            self._summaries.emit(summary)
        progress = self._session.progress
        progress.evaluated = self._step
        return progress.best.consider(self._step, self._evaluated)

    @property
    def _needed(self) -> int:
        """The step of the checkpoint that a rollback would need; -1 if there is none."""
        return self._session.progress.last_due_checkpoint if self._rollbacks.allowed else -1

    def _save(self, due: bool) -> None:
        """Save, because it is due or because the run is about to stop."""
        self._summaries.settle()
        if due:
            self._session.progress.last_due_checkpoint = self._step
        with self._console.paused(), self._timing.pause("time/checkpoint_blocked_s"):
            self._session.state.before_save()
            self._writer.save(self._step, self._needed)
