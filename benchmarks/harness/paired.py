"""Paired timing of several contestants on a machine whose speed drifts.

In each round every contestant runs one lap, one after the other, so that all of them see the same drift. The result is the
median, over the rounds, of the ratio of two laps of the same round.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Protocol

WARM_UP = 3  # laps: traces, compilations, caches
_PATIENCE = 600  # seconds for a lap


class Contestant(Protocol):
    """Something that is timed lap by lap."""

    def lap(self) -> float:
        """Do the same amount of work as in every other lap; return the seconds per step."""

    def close(self) -> None:
        """Release what the laps needed."""


class Calls:
    """A contestant that is a function, called once per lap.

    Args:
      run: the function.
      steps: per call.
    """

    def __init__(self, run: Callable[[], object], steps: int):
        self._run = run
        self._steps = steps

    def lap(self) -> float:
        """Call the function once, and return the seconds per step."""
        started = time.perf_counter()
        self._run()
        return (time.perf_counter() - started) / self._steps

    def close(self) -> None:
        """Do nothing."""


class Stop(Exception):
    """Raised in the thread of a `Gated` contestant to end it."""


class Gated:
    """A contestant that owns its loop, such as `fit`: it runs in its own thread and halts after each lap.

    Args:
      run: called with `halt`, which its loop calls at the end of each lap.
      steps: per lap.
    """

    def __init__(self, run: Callable[[Callable[[], None]], None], steps: int):
        self._steps = steps
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._stopping, self._error = False, None
        self._thread = threading.Thread(target=self._serve, args=(run,), daemon=True)
        self._thread.start()

    def lap(self) -> float:
        """Let the loop run to its next halt, and return the seconds per step."""
        started = time.perf_counter()
        self._go.release()
        if not self._arrived.acquire(timeout=_PATIENCE):
            raise TimeoutError(f"no lap within {_PATIENCE} s")
        if self._error is not None:
            raise self._error
        return (time.perf_counter() - started) / self._steps

    def close(self) -> None:
        """End the loop and its thread."""
        self._stopping = True
        self._go.release()
        self._thread.join(_PATIENCE)

    def _serve(self, run: Callable[[Callable[[], None]], None]) -> None:
        self._go.acquire()
        try:
            if not self._stopping:
                run(self._halt)
        except Stop:
            pass
        except BaseException as error:
            self._error = error
        self._arrived.release()

    def _halt(self) -> None:
        self._arrived.release()
        self._go.acquire()
        if self._stopping:
            raise Stop


def laps(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Return the seconds per step of each contestant in each round, after a warm-up; close all contestants.

    Each time in another order: nobody always comes first, or after the same one, and finds the memory as that one left it.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    try:
        for name in _shuffled(contestants):
            for _ in range(WARM_UP):
                contestants[name].lap()
        with _no_garbage_collection():
            for _ in range(rounds):
                for name in _shuffled(contestants):
                    times[name].append(contestants[name].lap())
    finally:
        for contestant in contestants.values():
            contestant.close()
    return times


def _shuffled(names: Iterable[str]) -> list[str]:
    found = list(names)
    random.shuffle(found)
    return found


def ratios(times: Mapping[str, Sequence[float]], one: str, other: str) -> list[float]:
    """Return, for each round, the time of `one` divided by that of `other`."""
    return [a / b for a, b in zip(times[one], times[other], strict=True)]


def ratio(times: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median of the rounds' ratios."""
    return median(ratios(times, one, other))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval that contains the true median with at least this confidence, whatever the distribution.

    Each independent value is below the true median with probability 1/2, so the number of them that are below it is binomial. The
    interval is the narrowest pair of symmetric order statistics whose tails add up to at most `1 - confidence`. Fewer than 6
    values cannot give 95%: the interval is then their range.
    """
    ordered, n = sorted(values), len(values)
    cut, tail = 0, 2 * 0.5**n  # the probability that the median is outside of the range of the values
    while cut + 1 < n - cut - 1 and (tail := tail + 2 * math.comb(n, cut + 1) * 0.5**n) <= 1 - confidence:
        cut += 1
    return ordered[cut], ordered[n - 1 - cut]


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from hitting one contestant and not the others."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
