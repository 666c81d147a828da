"""The action that looks for the fastest global batch size."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import gin
import tensorflow as tf
from absl import logging

from ...data.checks import number, whole_number
from ...metrics.errors import UsageError
from ..distribution import workers
from ..loop.probing import unchanged
from ..loop.train_session import TrainSession

if TYPE_CHECKING:
    from ..trainer import Trainer

_GAIN = 1.05  # what is less faster is not worth a larger batch


@gin.register(module="tallyloop")
class BatchSizeFinder:
    """Looks for the fastest global batch size, before the first step of a new run, and ends the run.

    It trains with the bound size, twice that, and so on, until a batch does not fit into the memory of the accelerator, or
    twice the examples take twice as long. It suggests the smallest size whose examples per second are within 5% of the best.
    Weights, optimizer, step and data are then as they were. Bind the size that it prints, with a learning rate for it, and
    remove the action. A run that has done steps already trains on without it.

    Args:
      most: the largest size to try. A CPU does not refuse a batch that is too large: the system ends the process then.
      seconds: how long to measure each size, besides compiling.

    Attributes:
      found: size -> examples per second; empty before.

    Raises:
      UsageError: an argument is wrong.
    """

    def __init__(self, most: int = 4096, seconds: float = 1.0):
        self._most = whole_number("BatchSizeFinder.most", most, least=1)
        self._seconds = number("BatchSizeFinder.seconds", seconds, least=0.01)
        self._clock: Callable[[], float] = time.monotonic
        self.found: dict[int, float] = {}

    def check(self, trainer: Trainer) -> None:
        """Check that there is a size to try.

        Raises:
          UsageError: there is none.
        """
        size = trainer.session.global_batch_size
        if size > self._most:
            raise UsageError(
                f"BatchSizeFinder.most = {self._most}: expected at least Input.global_batch_size = {size}, where it begins."
            )

    def start(self, trainer: Trainer) -> None:
        """Look for a size, and end the run.

        Raises:
          UsageError: the first size does not fit into memory.
        """
        if trainer.step:
            logging.warning(
                "BatchSizeFinder: expected a new run, and %d steps are done: it does nothing.", trainer.step
            )
            return
        size = trainer.session.global_batch_size
        with unchanged(trainer.session):
            while size <= self._most and self._is_worth_trying(size) and self._try(trainer, size):
                size *= 2
        if not self.found:
            raise UsageError(
                f"BatchSizeFinder: Input.global_batch_size = {size} does not fit into memory: expected a smaller one to begin."
            )
        best = min(size for size, speed in self.found.items() if speed * _GAIN >= max(self.found.values()))
        speeds = ", ".join(f"{size}: {speed:,.0f}" for size, speed in self.found.items())
        trainer.stop(
            f"BatchSizeFinder: examples per second by global batch size: {speeds}. Bind the train dataset's "
            f"Input.global_batch_size = {best}, and remove the action. Nothing was trained."
        )

    def _is_worth_trying(self, size: int) -> bool:
        """Return whether the last doubling was, or there was none."""
        last, before = self.found.get(size // 2), self.found.get(size // 4)
        return last is None or before is None or last > _GAIN * before

    def _try(self, trainer: Trainer, size: int) -> bool:
        """Measure a size; returns whether it fits on all workers."""
        speed = 0.0
        try:
            speed = self._speed(trainer.session.with_batch_size(size))
        except tf.errors.ResourceExhaustedError:
            logging.info("BatchSizeFinder: a global batch of %d does not fit into memory.", size)
        if workers.any_of(trainer.strategy, speed == 0)[0]:
            return False
        self.found[size] = speed
        return True

    def _speed(self, session: TrainSession) -> float:
        """Return the examples per second of a session."""
        session.trace()
        session.loop.run(0, 1)  # compiles
        session.loop.fetching.take()
        begin, steps = self._clock(), 1
        while workers.any_of(session.strategy, self._clock() - begin < self._seconds)[0]:
            session.loop.run(session.progress.step, min(steps, session.loop_length.longest))
            steps *= 2
        return session.loop.fetching.take().examples / (self._clock() - begin)
