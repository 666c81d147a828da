"""The action that looks for a learning rate."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NamedTuple

import gin
import numpy as np
from absl import logging

from ...data.checks import number, whole_number
from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from ..distribution import workers
from ..loop.probing import unchanged
from ..loop.train_session import TrainSession
from ..model.optimizers import constant_rates, parts

if TYPE_CHECKING:
    from ..trainer import Trainer

FILE = "learning_rate_finder.json"  # below the model_dir
_SMOOTHING = 0.9  # of the losses: a single batch says little
_DIVERGED = 4.0  # times the best smoothed loss
_LEAST_FALL = 0.01  # of the smoothed loss; anything less may be rounding
_LEAST = 10  # rates, without which there is no slope to see


class Found(NamedTuple):
    """The rates that were found.

    Attributes:
      rates: the learning rates tried, in order.
      losses: the loss of the step at each, smoothed.
      suggestion: the rate at which the loss fell fastest.
    """

    rates: list[float]
    losses: list[float]
    suggestion: float


@gin.register(module="tallyloop")
class LearningRateFinder:
    """Looks for a learning rate, before the first step of a new run, and ends the run.

    It trains with a rate that grows from step to step, until the loss diverges, and suggests the rate at which the loss fell
    fastest (Smith, 2017, "Cyclical Learning Rates for Training Neural Networks"). Weights, optimizer, step and data are then
    as they were. Bind the rate that it prints, and remove the action. A run that has done steps already trains on without it.

    Args:
      lowest: the first rate.
      highest: the last one.
      steps: how many rates to try, each with one update; they grow by the same factor.

    Attributes:
      found: what was found; None before.

    Raises:
      UsageError: an argument is wrong; and, before the first step, that the optimizer has several parts or a schedule.
    """

    def __init__(self, lowest: float = 1e-7, highest: float = 1.0, steps: int = 100):
        self._lowest = number("LearningRateFinder.lowest", lowest, least=1e-30)
        self._highest = number("LearningRateFinder.highest", highest)
        if self._highest <= self._lowest:
            raise UsageError(
                f"LearningRateFinder.highest = {highest}: expected more than LearningRateFinder.lowest = {lowest}."
            )
        self._steps = whole_number("LearningRateFinder.steps", steps, least=_LEAST)
        self.found: Found | None = None

    def check(self, trainer: Trainer) -> None:
        """Check that there is one rate to vary.

        Raises:
          UsageError: there are several, or it follows a schedule.
        """
        optimizer = trainer.optimizer
        if len(parts(optimizer)) > 1 or math.isnan(constant_rates(optimizer)[0]):
            raise UsageError(
                "LearningRateFinder: expected an optimizer with a constant learning rate, such as "
                "keras.optimizers.Adam.learning_rate = 0.001, got a schedule or several optimizers: bind one number for the "
                "search, and take what is found as the schedule's highest rate."
            )

    def start(self, trainer: Trainer) -> None:
        """Look for a rate, and end the run."""
        if trainer.step:
            logging.warning(
                "LearningRateFinder: expected a new run, and %d steps are done: it does nothing.", trainer.step
            )
            return
        rates, losses = self._tried(trainer.session, parts(trainer.optimizer)[0])
        self.found = _found(rates, losses)
        if trainer.model_dir is not None and workers.is_chief(trainer.strategy):
            replace_file(trainer.model_dir / FILE, [json.dumps(self.found._asdict()).encode() + b"\n"])
        name, suggestion = type(parts(trainer.optimizer)[0]).__name__, f"{self.found.suggestion:.2g}"
        trainer.stop(
            f"LearningRateFinder: among {rates[0]:.2g} to {rates[-1]:.2g}, the loss falls fastest at {suggestion}. Bind "
            f"keras.optimizers.{name}.learning_rate = {suggestion}, and remove the action. Nothing was trained."
        )

    def _tried(self, session: TrainSession, optimizer) -> tuple[list[float], list[float]]:
        """Return the rates, and the loss of the step at each."""
        rates, losses = [], []
        with unchanged(session):
            session.drain()
            for rate in np.geomspace(self._lowest, self._highest, self._steps):
                optimizer.learning_rate = float(rate)
                loss = session.loss_of_update()
                if not math.isfinite(loss):
                    break
                rates.append(float(rate))
                losses.append(loss)
                smoothed = _smoothed(losses)
                if smoothed[-1] > _DIVERGED * min(smoothed) and len(losses) > _LEAST:
                    break
        return rates, losses


def _found(rates: list[float], losses: list[float]) -> Found:
    """Find the steepest descent of the smoothed losses over the logarithm of the rate.

    Raises:
      UsageError: there are too few, or they don't fall.
    """
    if len(rates) < _LEAST:
        raise UsageError(
            f"LearningRateFinder: the loss was no longer finite after {len(rates)} rates: expected at least {_LEAST}: lower "
            "LearningRateFinder.lowest, or raise LearningRateFinder.steps."
        )
    smoothed = _smoothed(losses)
    slopes = np.gradient(smoothed, np.log(rates))
    if min(smoothed) > (1 - _LEAST_FALL) * smoothed[0]:
        raise UsageError(
            f"LearningRateFinder: the loss does not fall at any rate from {rates[0]:.2g} to {rates[-1]:.2g}: expected that it "
            "does at some: change LearningRateFinder.lowest or highest, or see whether the task can learn at all."
        )
    return Found(rates, smoothed, rates[int(slopes.argmin())])


def _smoothed(losses: list[float]) -> list[float]:
    """Return the exponential moving averages, without their bias to the initial 0."""
    total, found = 0.0, []
    for i, loss in enumerate(losses, 1):
        total = _SMOOTHING * total + (1 - _SMOOTHING) * loss
        found.append(total / (1 - _SMOOTHING**i))
    return found
