"""The time that has passed and the speed of a run, without the pauses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class Stopwatch:
    """Seconds that have passed, less those inside `paused()`. Pauses may nest.

    Args:
      clock: returns seconds, from an arbitrary origin.
    """

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._paused_seconds = 0.0
        self._paused_at: float | None = None

    def elapsed(self) -> float:
        """Return the seconds on the clock without the pauses, from an arbitrary origin."""
        now = self._clock() if self._paused_at is None else self._paused_at
        return now - self._paused_seconds

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the watch for the duration of the block."""
        if self._paused_at is not None:
            yield
            return
        self._paused_at = self._clock()
        try:
            yield
        finally:
            self._paused_seconds += self._clock() - self._paused_at
            self._paused_at = None


class Speedometer:
    """Steps per second over the current interval, which runs from the last `lap` to the last `advance`.

    The first `advance` only starts the first interval: the time before it was mostly compilation.

    Args:
      clock: returns seconds, from an arbitrary origin.

    Attributes:
      step: the last step reached; None before the first `advance`.
      steps_per_second: None until it is known.
      paused: context manager that keeps the time of its block out of the speed.
    """

    def __init__(self, clock: Callable[[], float]):
        self._stopwatch = Stopwatch(clock)
        self._start = (0, 0.0)
        self._latest = (0, 0.0)
        self.step: int | None = None
        self.steps_per_second: float | None = None
        self.paused: Callable[[], contextlib.AbstractContextManager[None]] = self._stopwatch.paused

    def advance(self, step: int) -> None:
        """Note that the run has reached `step`. A step back, as after a rollback, starts a new interval."""
        self._latest = (step, self._stopwatch.elapsed())
        if self.step is None or step < self.step:
            self.lap()
        self.step = step
        steps, seconds = step - self._start[0], self._latest[1] - self._start[1]
        if steps > 0 and seconds > 0:
            self.steps_per_second = steps / seconds

    def lap(self) -> None:
        """Start a new interval at the step reached last."""
        self._start = self._latest
