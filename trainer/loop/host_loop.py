"""The host's loop: from the step it finds to the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ...metrics.terminal.console import ConsoleWriter
from ...metrics.writers import Summary
from ..distribution import preemption, workers
from ..errors import ClusterError, PreemptedError
from ..step.eval_loop import EvaluationStopped
from .acting import Actions
from .evaluation import Evaluation
from .non_finite import Rollbacks
from .run_writer import NullWriter, RunWriter
from .schedule import Schedule
from .summaries import Summaries
from .timing import Timing
from .train_session import TrainSession


class HostLoop:
    """Trains, summarizes, evaluates and saves by a schedule.

    Args:
      session: what is trained, restored already.
      evaluation: what is evaluated; None never evaluates.
      schedule: when to do what.
      rollbacks: what happens at a step that isn't finite.
      writer: writes the run.
      console: shows it.
      actions: called with each summary, after it was written, and more; they may ask for the end of the run.
      last_lines: what the time was spent on -> what the console says at the end.
    """

    def __init__(
        self,
        *,
        session: TrainSession,
        evaluation: Evaluation | None,
        schedule: Schedule,
        rollbacks: Rollbacks,
        writer: RunWriter | NullWriter,
        console: ConsoleWriter,
        actions: Actions,
        last_lines: Callable[[dict[str, float]], list[str]],
    ):
        self._session = session
        self._evaluation = evaluation
        self._schedule = schedule
        self._loop_length = session.loop_length
        self._rollbacks = rollbacks
        self._writer = writer
        self._console = console
        self._last_lines = last_lines
        writers = (self._consumer(each, "time/writers_s") for each in (writer.write, console.write))
        self._summaries = Summaries(
            session.registry, [*writers, *(self._consumer(action, "time/actions_s") for action in actions.on_summary)]
        )
        self._actions = actions
        self._stop = actions.stop
        self._step = session.progress.step
        self._rolled_back = False
        self._stopped = False
        self._error: Exception | SystemExit | None = None  # of the host's work, to be raised once the run is saved
        self._timing = Timing(time.monotonic)
        self._timing.add("time/compile_s", session.trace_seconds)
        self._longer, self._shorter = False, False  # what this worker wants of the next loop
        self._evaluated: dict[str, dict[str, Any]] = {}

    def run(self) -> dict[str, dict[str, Any]]:
        """Run up to `train_steps`, or until an action ends the run; returns the last evaluation, dataset -> metric -> value.

        An error of the host's own work, such as an action's or a writer's, is raised once the steps done are saved. One of a
        step is raised at once: what it was about to change may be changed in part.

        Raises:
          PreemptedError: the run was asked to stop, and has saved its state.
          ClusterError: another worker has failed; the run is saved.
          CheckpointError, OutputError: the run can no longer be written.
          NonFiniteError: the loss or a gradient became NaN or infinite.
        """
        begin = self._step
        self._writer.resume(begin, self._needed)
        if 0 < begin < self._schedule.train_steps:
            self._console.resume(begin)
        self._rollbacks.resume(self._session)
        self._stop.outcome = None
        with self._actions.running():
            self._start()
            if not self._stopped:
                self._steps()
            self._writer.settle()
            self._raise_error()
        if self._step > begin:
            self._console.finish(self._last_lines(self._timing.by_kind))
        return self._evaluated

    def _start(self) -> None:
        """Start the actions, one of which may find that there is nothing to do any more. Then, nothing is saved."""
        with self._error_kept(), self._console.paused(), self._timing.pause():
            self._actions.start()
        asked, fails = self._agree(self._stop.asked is not None, self._error is not None)
        if fails:
            self._settle_together()
            raise self._error or ClusterError("another worker has failed: see its messages.")
        if asked:
            self._stop_here()

    def _steps(self) -> None:
        end = self._schedule.train_steps
        nothing_to_go_back_to = self._session.progress.last_due_checkpoint < 0
        if self._rollbacks.allowed and nothing_to_go_back_to:
            self._save(due=True)
        if self._evaluation_is_left():
            self._after_step()
        elif self._step >= end:
            self._console.say(
                f"Nothing to do: {self._step} of {end} steps are done. Raise Trainer.train_steps to continue."
            )
        while self._step < end and not self._stopped:
            self._train()
            self._act_at_mark()
            self._summarize()
            self._after_step()

    def _evaluation_is_left(self) -> bool:
        """Return whether the run was stopped during the evaluation of the step that it continues from."""
        left = self._step > 0 and self._session.progress.evaluated != self._step
        return left and self._evaluation is not None and self._schedule.evaluates(self._step)

    def _train(self) -> None:
        self._longer = self._shorter = False
        wanted = self._schedule.loop_steps(self._step, self._loop_length.steps)
        wanted = min(wanted, self._actions.steps_to_mark(self._step) or wanted)
        steps = self._session.loop.compiled_steps(self._step, wanted)
        if self._loop(steps) if steps else self._compile():
            self._step += steps or 1
            self._rollbacks.forgive(self._session, self._step)
        else:
            self._roll_back()
        with self._error_kept():
            self._console.progress(self._step)

    def _act_at_mark(self) -> None:
        """Call the actions that have asked to be called at this step."""
        if self._step in self._actions.marks:
            with self._error_kept(), self._console.paused(), self._timing.pause("time/actions_s"):
                self._actions.reached(self._step)

    def _compile(self) -> bool:
        """Run one step, which takes about as long as compiling it, and doesn't count as training time."""
        with (
            self._console.doing("compiling"),
            self._timing.pause("time/compile_s"),
            self._session.loop.fetching.uncounted(),
        ):
            return self._session.loop.run(self._step, 1, self._settle)

    def _loop(self, steps: int) -> bool:
        with self._timing.loop():
            finite = self._session.loop.run(self._step, steps, self._settle_meanwhile)
        timing = self._timing
        self._longer, self._shorter = self._loop_length.wishes(steps, timing.loop_seconds, timing.host_seconds)
        return finite

    def _settle_meanwhile(self) -> None:
        with self._timing.host():
            self._settle()

    def _settle(self) -> None:
        with self._error_kept():
            self._summaries.settle()

    @contextlib.contextmanager
    def _error_kept(self) -> Iterator[None]:
        """Keep an error of the host's work until the run is saved; one after it becomes a note on the first.

        It comes while the steps of a loop run, or on one of several workers alone, and only after a step can all of them save.
        """
        try:
            yield
        except (Exception, SystemExit) as error:
            if self._error is None:
                self._error = error
            else:
                self._error.add_note(f"Later: {error!r}")

    def _consumer(self, consume: Callable[[Summary], None], metric: str) -> Callable[[Summary], None]:
        """Return what calls `consume`, whose time is not training time but a metric, and whose error is kept."""

        def consumer(summary: Summary) -> None:
            with self._error_kept(), self._console.paused(), self._timing.pause(metric):
                consume(summary)

        return consumer

    def _roll_back(self) -> None:
        """Continue with the last checkpoint's weights and the next batch, if that is allowed; else raise the error."""
        with self._console.paused(), self._timing.pause("time/checkpoint_blocked_s"):
            self._writer.settle()
            self._rollbacks.go_back(self._session)
        self._step = self._session.progress.step
        self._rolled_back = True

    def _summarize(self) -> None:
        if not self._schedule.summarizes(self._step):
            return
        session = self._session
        seconds, times = self._timing.lap(session.loop.fetching.take(), session.steps_summed)
        drained = session.drain()  # by all workers together; what comes then, one of them may fail at alone
        with self._error_kept():
            self._summaries.defer(self._step, drained, seconds, session.known(), times)
        if (
            self._actions.on_summary
        ):  # at once, as what an action changes must not depend on the length of the next loop
            self._settle()

    def _after_step(self) -> None:
        """Evaluate and save when due, or when asked to stop; and stop then."""
        step, schedule = self._step, self._schedule
        due, self._rolled_back = schedule.saves(step) or self._rolled_back, False
        if self._evaluation is not None and schedule.evaluates(step):
            with self._saved_if_it_fails(due):
                due |= self._evaluate(self._evaluation)
        fails = self._writer.failing() or self._error is not None
        asked = self._stop.asked is not None
        stops, fails, asked, *change = self._agree(preemption.requested(), fails, asked, self._longer, self._shorter)
        self._loop_length.change(*change)
        if self._writer.saves and (due or stops or asked or fails):
            self._save(due)
        if fails or stops:
            self._end(fails)
        if asked:
            self._stop_here()

    def _stop_here(self) -> None:
        """End the run, as some worker's actions have asked for."""
        outcome = self._stop.agree(self._session.strategy, self._step)
        self._stopped = True
        with self._error_kept():
            self._console.say(outcome[0].upper() + outcome[1:])

    def _agree(self, *mine: bool) -> list[bool]:
        """For each flag, return whether any worker set it; all workers call this at the same points."""
        return workers.any_of(self._session.strategy, *mine)

    @contextlib.contextmanager
    def _saved_if_it_fails(self, due: bool) -> Iterator[None]:
        """Save on an error in an evaluation. One of several workers cannot save alone."""
        try:
            yield
        except Exception as error:
            if self._writer.saves and not workers.is_multi_worker(self._session.strategy):
                self._save(due)
                error.add_note(self._saved)
            raise

    def _end(self, fails: bool) -> NoReturn:
        """Raise why all workers end now: an error of this one or, if one of them `fails`, of another; or a request to stop."""
        self._settle_together()
        self._raise_error()
        if fails:
            raise ClusterError(f"another worker has failed: see its messages. {self._saved}")
        raise PreemptedError(f"Stopped after step {self._step}.")

    def _raise_error(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self._error is not None:
            if self._writer.saves:
                self._error.add_note(self._saved)
            raise self._error

    @property
    def _saved(self) -> str:
        return f"The run is saved as it was after step {self._step}: the same command continues from there."

    def _settle_together(self) -> None:
        """Return once the chief has written everything: a worker that ends earlier might report success too early."""
        self._writer.settle()
        self._agree(False)

    def _evaluate(self, evaluation: Evaluation) -> bool:
        """Evaluate, unless asked to stop; returns whether this is the best so far."""
        self._settle()
        try:
            with self._console.doing("evaluating"), self._timing.pause(kind="evaluating"):
                summaries = evaluation.run(
                    self._step,
                    stop=lambda: self._agree(preemption.requested() or self._error is not None)[0],
                    steps_per_call=self._loop_length.steps,
                )
        except EvaluationStopped:
            return False
        for name, summary in summaries.items():
            self._evaluated[name] = dict(summary.metrics)
            self._summaries.emit(summary)
        if self._error is not None:
            return False  # so that the rerun evaluates again
        progress = self._session.progress
        progress.evaluated = self._step
        return progress.best.consider(self._step, self._evaluated)

    @property
    def _needed(self) -> int:
        """The step of the checkpoint that a rollback would need; -1 if there is none."""
        return self._session.progress.last_due_checkpoint if self._rollbacks.allowed else -1

    def _save(self, due: bool) -> None:
        """Save, because it is due or because the run is about to stop."""
        self._settle()
        if due:
            self._session.progress.last_due_checkpoint = self._step
        with self._console.doing("saving"), self._timing.pause("time/checkpoint_blocked_s"):
            self._session.state.before_save()
            self._writer.save(self._step, self._needed)
