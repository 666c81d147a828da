"""Actions that end a run: when it no longer improves, is good enough, or its time is over."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import gin
from absl import logging

from ...data.checks import number, one_of, whole_number
from ...metrics.errors import UsageError
from ...metrics.writers import Summary
from ...metrics.writers.better import MODES, Mode
from ..checkpointing.eval_metric import EvalMetric, dataset_of

if TYPE_CHECKING:
    from ..trainer import Trainer


def warn_without_evaluations(trainer: Trainer, name: str) -> None:
    """Warn that an action of evaluations has nothing to do in a run without."""
    if not trainer.eval_metrics:
        logging.warning(
            "%s never acts, as this run does not evaluate: use --mode=train_and_eval, or Trainer.train_and_eval().",
            name,
        )


class _Watch:
    """The value of one eval metric, evaluation by evaluation.

    Args:
      owner: the class that watches, for messages.
      metric: DATASET/METRIC, or METRIC where there is one eval dataset.
      mode: "max" or "min".
    """

    def __init__(self, owner: str, metric: Any, mode: Any):
        if not isinstance(metric, str) or not metric:
            raise UsageError(
                f"{owner}.metric = {metric!r}: expected the name of an eval metric, such as 'accuracy' or 'test/accuracy'."
            )
        self._owner = owner
        checked: Mode = one_of(f"{owner}.mode", mode, MODES)
        self.metric: EvalMetric = EvalMetric(f"{owner}.metric", metric, checked)
        self.name: str = f"{owner}({metric}, {mode})"

    def check(self, trainer: Trainer) -> None:
        """Check that the evaluations compute the metric."""
        if not trainer.eval_datasets:
            raise UsageError(
                f"{self._owner}.metric = {self.metric.name!r}: expected Trainer.eval_datasets, whose evaluation gives it, and "
                "nothing is bound to it."
            )
        if trainer.eval_metrics:
            self.metric.check(trainer.eval_metrics)

    def value(self, trainer: Trainer, summary: Summary) -> float | None:
        """Return the value in a summary: NaN if it had no examples, None if the summary is not one of the metric's dataset."""
        dataset, only = dataset_of(summary, trainer.eval_datasets), len(trainer.eval_datasets) == 1
        if dataset is None or not self.metric.is_of(dataset, only):
            return None
        value = self.metric.value({dataset: summary.metrics}, only)
        return math.nan if value is None else value


@gin.register(module="tallyloop")
class EarlyStopping:
    """Ends the run when an eval metric has not improved for some evaluations.

    It remembers the best value and how long it has waited, in the checkpoints, so that a run that was interrupted stops where
    it would have without. The same command again does not train on; a larger `patience` does.

    Args:
      metric: an eval metric, as NAME, or as DATASET/NAME with several datasets.
      mode: "max" or "min": which value of it is better; it is never guessed.
      patience: how many evaluations in a row may pass without an improvement.
      min_delta: an improvement is a change by more than this.
      name: its name in the checkpoint; two actions on one metric need different ones.

    Raises:
      UsageError: an argument is wrong; and, before the first step, that no evaluation computes the metric.
    """

    def __init__(self, metric: str, mode: Mode, patience: int, min_delta: float = 0.0, name: str | None = None):
        self._watch = _Watch("EarlyStopping", metric, mode)
        self._patience = whole_number("EarlyStopping.patience", patience, least=1)
        self._min_delta = number("EarlyStopping.min_delta", min_delta, least=0)
        self.name: str = name or self._watch.name
        self._best, self._best_step = math.nan, -1
        self._waited, self._last, self._seen = 0, math.nan, -1  # the last value, and its step

    def check(self, trainer: Trainer) -> None:
        """Check that the evaluations compute the metric."""
        self._watch.check(trainer)

    def start(self, trainer: Trainer) -> None:
        """Stop at once where a run before this one has been stopped, or would have been with this patience."""
        warn_without_evaluations(trainer, "EarlyStopping")
        self._stop_if_over(trainer)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Take an evaluation."""
        value = self._watch.value(trainer, summary)
        if value is None or summary.step <= self._seen:  # the rerun after a failed action evaluates again
            return
        self._last, self._seen = value, summary.step
        if self._watch.metric.is_better(value, self._best, self._min_delta):
            self._best, self._best_step, self._waited = value, summary.step, 0
        else:
            self._waited += 1
        self._stop_if_over(trainer)

    def _stop_if_over(self, trainer: Trainer) -> None:
        if self._waited >= self._patience:
            best = f"best {self._best:.6g} at step {self._best_step}" if self._best_step >= 0 else "never a number"
            trainer.stop(
                f"EarlyStopping: {self._watch.metric.name} has not improved for {self._waited} evaluations: {best}, "
                f"{self._last:.6g} at step {self._seen}. To train on, raise EarlyStopping.patience ({self._patience}), or remove "
                "the action."
            )

    def state(self) -> dict[str, Any]:
        """Return the best value so far, and how many evaluations have passed since."""
        return {
            "best": self._best,
            "best_step": self._best_step,
            "waited": self._waited,
            "last": self._last,
            "seen": self._seen,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best, self._best_step = state["best"], state["best_step"]
        self._waited, self._last, self._seen = state["waited"], state["last"], state["seen"]


@gin.register(module="tallyloop")
class StopAtTarget:
    """Ends the run once an eval metric reaches a target. The same command again does not train on; another target does.

    Args:
      metric: an eval metric, as NAME, or as DATASET/NAME with several datasets.
      mode: "max" if the target is reached from below, "min" if from above.
      target: the value to reach.
      name: its name in the checkpoint; two actions on one metric need different ones.

    Raises:
      UsageError: an argument is wrong; and, before the first step, that no evaluation computes the metric.
    """

    def __init__(self, metric: str, mode: Mode, target: float, name: str | None = None):
        self._watch = _Watch("StopAtTarget", metric, mode)
        self._target = number("StopAtTarget.target", target)
        self.name: str = name or self._watch.name
        self._last, self._seen = math.nan, -1

    def check(self, trainer: Trainer) -> None:
        """Check that the evaluations compute the metric."""
        self._watch.check(trainer)

    def start(self, trainer: Trainer) -> None:
        """Stop at once where a run before this one has reached the target."""
        warn_without_evaluations(trainer, "StopAtTarget")
        self._stop_if_reached(trainer)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Take an evaluation."""
        value = self._watch.value(trainer, summary)
        if value is not None:
            self._last, self._seen = value, summary.step
            self._stop_if_reached(trainer)

    def _stop_if_reached(self, trainer: Trainer) -> None:
        if self._last == self._target or (
            not math.isnan(self._last) and self._watch.metric.is_better(self._last, self._target)
        ):
            trainer.stop(
                f"StopAtTarget: {self._watch.metric.name} is {self._last:.6g} at step {self._seen}, and the target "
                f"{self._target:.6g}. To train on, change StopAtTarget.target, or remove the action."
            )

    def state(self) -> dict[str, Any]:
        """Return the last value, and its step."""
        return {"last": self._last, "seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._last, self._seen = state["last"], state["seen"]


@gin.register(module="tallyloop")
class StopAfter:
    """Ends the run after some wall time, for a job with a limit. The same command again trains on, for as long.

    The time is that of this process, from the making of the action on. The run ends after the steps in flight, which take
    about a second at most with `Trainer.steps_per_loop = "auto"`, or after the evaluation that is running, and then saves.

    Args:
      hours: added to the others.
      minutes: likewise.
      seconds: likewise.

    Raises:
      UsageError: an argument is negative, or all are 0.
    """

    def __init__(self, hours: float = 0.0, minutes: float = 0.0, seconds: float = 0.0):
        given = {"hours": (hours, 3600), "minutes": (minutes, 60), "seconds": (seconds, 1)}
        self._limit = sum(unit * number(f"StopAfter.{name}", n, least=0) for name, (n, unit) in given.items())
        if not self._limit:
            raise UsageError("StopAfter.hours = 0: expected a time: bind StopAfter.hours, minutes or seconds.")
        self._end = time.monotonic() + self._limit
        self._timer: threading.Timer | None = None

    def start(self, trainer: Trainer) -> None:
        """Start the clock."""
        left = max(0.0, self._end - time.monotonic())
        self._timer = threading.Timer(
            left, trainer.stop, [f"StopAfter: {self._limit:g} s are over. The same command trains on."]
        )
        self._timer.daemon = True
        self._timer.start()

    def end(self, trainer: Trainer) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
