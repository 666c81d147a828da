"""One run of the loop, from the step it finds to the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TextIO

from ...metrics.writers import ConsoleWriter, Summary
from ..distribution import preemption
from ..errors import PreemptedError
from ..model.averaged_weights import AveragedWeights
from ..step.eval_loop import EvaluationStopped
from .evaluation import Evaluation
from .rollbacks import Rollbacks
from .run_writer import Outputs
from .schedule import LoopLength, Schedule
from .summaries import Summaries
from .timing import Timing
from .training import Training


class Run:
    """Trains, summarises, evaluates and saves by a schedule. A context manager: it closes what it writes to.

    Args:
      trainer: what the actions are given.
      training: what is trained, restored already.
      evaluation: what is evaluated; None does not evaluate.
      averaged: the weights that it is evaluated with.
      schedule: when.
      loop_length: how many steps in the graph.
      saves: whether the run is saved at all; if so, each worker takes part.
      outputs: what it writes to; None on a worker that does not write.
      stream: the console.
      agree: tells all workers of each answer whether one of them says yes; all call it at the same moments.
      is_alone: whether this is the only worker.
      rollbacks: how often in a row the weights may go back to the last checkpoint's.
      global_batch_size: examples a step, for the speed.
      actions: called with each summary.
    """

    def __init__(
        self,
        *,
        trainer: Any,
        training: Training,
        evaluation: Evaluation | None,
        averaged: AveragedWeights,
        schedule: Schedule,
        loop_length: LoopLength,
        saves: bool,
        outputs: Outputs | None,
        stream: TextIO,
        agree: Callable[..., list[bool]],
        is_alone: bool,
        rollbacks: Rollbacks,
        global_batch_size: int,
        actions: Sequence[Callable[[Any, Summary], None]],
    ):
        self._training = training
        self._evaluation = evaluation
        self._averaged = averaged
        self._schedule = schedule
        self._loop_length = loop_length
        self._saves = saves
        self._outputs = outputs
        self._agree = agree
        self._is_alone = is_alone
        self._rollbacks = rollbacks
        self._console = ConsoleWriter(stream, schedule.train_steps, global_batch_size)
        files = [outputs.write] if outputs else []
        self._summaries = Summaries(
            training.registry, [*files, self._console.write, *(partial(action, trainer) for action in actions)]
        )
        self._acts = bool(actions)
        self._step = training.step
        self._rolled_back = False
        self._timing = Timing(time.monotonic)
        self._timing.add("time/compile_s", training.trace_seconds)
        self._longer, self._shorter = False, False  # what this worker wishes of the next loop
        self._evaluated: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error) -> None:
        try:
            if self._outputs:
                self._outputs.close()
        finally:
            self._console.close()

    def to_the_end(self) -> dict[str, dict[str, Any]]:
        """Runs up to `train_steps`; returns the last evaluation, dataset -> metric -> value.

        Raises:
          PreemptedError: it was asked to stop, and has saved where it is.
          CheckpointError, OutputError: it cannot write any more.
        """
        end = self._schedule.train_steps
        if self._outputs:
            self._outputs.resume_at(self._step, self._needed)
        self._rollbacks.resume(self._training)
        if self._rollbacks.allowed and self._training.progress.regular < 0:  # there is nothing to go back to yet
            self._save(due=True)
        if self._evaluation_is_left():
            self._after_step()
        elif self._step >= end:
            self._console.note(
                f"Nothing to do: {self._step} of {end} steps are done. Raise Trainer.train_steps to go on."
            )
        while self._step < end:
            self._train()
            self._summarize()
            self._after_step()
        self._summaries.settle()
        if self._outputs:
            self._outputs.settle()
        return self._evaluated

    def _evaluation_is_left(self) -> bool:
        """Whether the run was stopped in the evaluation of the step that it goes on from."""
        left = self._step > 0 and self._training.progress.evaluated != self._step
        return left and self._evaluation is not None and self._schedule.evaluates(self._step)

    def _compile(self) -> bool:
        """One step, that takes about as long as it takes to compile it: no time of training."""
        with self._console.paused(), self._timing.pause("time/compile_s"), self._training.loop.fetching.uncounted():
            return self._training.loop.run(self._step, 1, self._summaries.settle)

    def _loop(self, steps: int) -> bool:
        with self._timing.loop():
            finite = self._training.loop.run(self._step, steps, self._settle)
        timing = self._timing
        self._longer, self._shorter = self._loop_length.wishes(steps, timing.loop_seconds, timing.host_seconds)
        return finite

    def _settle(self) -> None:
        with self._timing.host():
            self._summaries.settle()

    def _train(self) -> None:
        self._longer = self._shorter = False
        wanted = self._schedule.loop_steps(self._step, self._loop_length.steps)
        steps = self._training.loop.compiled_steps(self._step, wanted)
        if self._loop(steps) if steps else self._compile():
            self._step += steps or 1
            self._rollbacks.forgive(self._training, self._step)
        else:
            self._roll_back()
        self._console.progress(self._step)

    def _roll_back(self) -> None:
        """Goes on with the last checkpoint's weights and the next batch, if that is allowed; else raises the error."""
        if self._outputs is not None:
            self._outputs.settle()
        self._rollbacks.go_back(self._training)
        self._step = self._training.step
        self._rolled_back = True

    def _summarize(self) -> None:
        if not self._schedule.summarizes(self._step):
            return
        seconds, times = self._timing.lap(self._training.loop.fetching.take(), self._training.steps_summed)
        self._summaries.defer(self._step, self._training.drain(), seconds, self._training.known(), times)
        if self._acts:  # at once, as what an action changes must not depend on how long the next loop is
            self._summaries.settle()

    def _after_step(self) -> None:
        """Evaluates and saves if it is time, or if it is asked to stop; and stops then."""
        step, schedule = self._step, self._schedule
        due, self._rolled_back = schedule.saves(step) or self._rolled_back, False
        if self._evaluation is not None and schedule.evaluates(step):
            with self._saved_if_it_fails(due):
                due |= self._evaluate()
        stops, fails, *change = self._agree(preemption.requested(), self._fails(), self._longer, self._shorter)
        self._loop_length.change(*change)
        if self._saves and (due or stops or fails):
            self._save(due)
        if stops:
            self._settle_together()
            raise PreemptedError(f"Stopped after step {step}.")

    @contextlib.contextmanager
    def _saved_if_it_fails(self, due: bool) -> Iterator[None]:
        """An error in an evaluation costs no steps, if it is time to save. One of several workers cannot save alone."""
        try:
            yield
        except Exception:
            if due and self._saves and self._is_alone:
                self._save(due)
            raise

    def _settle_together(self) -> None:
        """Returns when the chief has written everything: a worker that ends before it might say that all went well."""
        if self._outputs is not None:
            self._outputs.settle()
        self._agree(False)

    def _fails(self) -> bool:
        if self._outputs is None:
            return False
        self._outputs.check()
        return self._outputs.failing

    def _evaluate(self) -> bool:
        """Evaluates, unless it is asked to stop; returns whether this is the best so far."""
        self._summaries.settle()
        try:
            with self._console.paused(), self._timing.pause(), self._averaged.in_use():
                summaries = self._evaluation.run(
                    self._step,
                    stop=lambda: self._agree(preemption.requested())[0],
                    steps_per_call=self._loop_length.steps,
                )
        except EvaluationStopped:
            return False
        for name, summary in summaries.items():
            self._evaluated[name] = dict(summary.metrics)
            self._summaries.emit(summary)
        progress = self._training.progress
        progress.evaluated = self._step
        return progress.best.consider(self._step, self._evaluated)

    @property
    def _needed(self) -> int:
        """The step of the checkpoint that a rollback would need; -1 if there is none."""
        return self._training.progress.regular if self._rollbacks.allowed else -1

    def _save(self, due: bool) -> None:
        """Saves, because it is due or because the run is to stop."""
        self._summaries.settle()
        if due:
            self._training.progress.regular = self._step
        with self._console.paused(), self._timing.pause("time/checkpoint_blocked_s"):
            self._training.before_save()
            if self._outputs is not None:
                self._outputs.save(self._step, self._needed)
