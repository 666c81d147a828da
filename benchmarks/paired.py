"""Timing several things beside each other, on a machine whose speed drifts.

Each round gives every contestant one lap, one after the other, so that all of them see the same drift. What is reported is
the median over the rounds of the ratio of two laps of one round.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Protocol

WARM_UP = 3  # laps: traces, compilations, caches
_PATIENCE = 600  # seconds for a lap


class Contestant(Protocol):
    """What is timed."""

    def lap(self) -> float:
        """Does as much work as in each other lap; returns the seconds a step."""


class Calls:
    """A contestant that is a function of so many steps."""

    def __init__(self, run: Callable[[], object], steps: int):
        self._run = run
        self._steps = steps

    def lap(self) -> float:
        """Calls it once."""
        started = time.perf_counter()
        self._run()
        return (time.perf_counter() - started) / self._steps

    def close(self) -> None:
        """Nothing."""


class Stop(Exception):
    """Ends what a `Gated` contestant runs."""


class Gated:
    """A contestant that owns its loop, such as a `fit`: it runs in a thread of its own, and is halted after each lap.

    Args:
      run: is called with a function that it must call at the end of each lap, from its loop.
      steps: of a lap.
    """

    def __init__(self, run: Callable[[Callable[[], None]], None], steps: int):
        self._steps = steps
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._stopping, self._error = False, None
        self._thread = threading.Thread(target=self._serve, args=(run,), daemon=True)
        self._thread.start()

    def lap(self) -> float:
        """Lets it run up to the next halt."""
        started = time.perf_counter()
        self._go.release()
        if not self._arrived.acquire(timeout=_PATIENCE):
            raise TimeoutError(f"no lap within {_PATIENCE} s")
        if self._error is not None:
            raise self._error
        return (time.perf_counter() - started) / self._steps

    def close(self) -> None:
        """Ends it."""
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
    """Name -> seconds a step in each round, after a warm-up; closes all of them."""
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    try:
        for name in names:
            for _ in range(WARM_UP):
                contestants[name].lap()
        with _no_garbage_collection():
            for turn in range(rounds):
                shift = turn % len(names)
                for name in names[shift:] + names[:shift]:
                    times[name].append(contestants[name].lap())
    finally:
        for contestant in contestants.values():
            contestant.close()
    return times


def ratio(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """How many times as long as `other` takes `one`: the median of the rounds."""
    return median(a / b for a, b in zip(times[one], times[other], strict=True))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection would hit one contestant and not the others."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
