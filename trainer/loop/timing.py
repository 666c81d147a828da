"""Where the time of a run goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from absl import logging

from ...metrics.stopwatch import Stopwatch
from ..step.batches import Fetched

# The metrics that every run writes about itself; the last one with its evaluations.
TIMES = frozenset(
    (
        "time/step_ms",
        "time/host_fraction",
        "time/data_wait_fraction",
        "time/checkpoint_blocked_s",
        "time/actions_s",
        "time/writers_s",
        "time/compile_s",
        "throughput/examples_per_sec",
        "time/eval_s",
    )
)
_KINDS = {
    "time/compile_s": "compiling",
    "time/checkpoint_blocked_s": "saving",
    "time/actions_s": "actions",
    "time/writers_s": "writing",
}
_MUCH_WAITING = 0.2  # of the time of training
_ENOUGH_SECONDS = 0.5  # of training, to judge it: the first steps wait until reading is ahead of them


class Timing:
    """Splits the training time into loops, the host between them, data, and pauses.

    A pause is time that isn't training: compiling, evaluating, saving, writing, and what actions do.

    Args:
      clock: returns seconds.

    Attributes:
      loop_seconds: the duration of the last loop.
      host_seconds: how long the host was busy while no loop ran, from the end of the previous loop to the end of the last.
    """

    def __init__(self, clock: Callable[[], float]):
        self._watch = Stopwatch(clock)
        self._clock = clock
        self._start = self._loop_end = self._watch.elapsed()
        self._in_loops = 0.0  # since the last lap
        self._pauses: dict[str, float] = {}  # likewise: metric -> seconds
        self._by_kind: dict[str, float] = {}  # of the whole run
        self._begin = self._start
        self._seconds = self._waited = 0.0  # of all laps
        self._has_warned = False
        self.loop_seconds: float = 0.0
        self.host_seconds: float = 0.0

    @contextlib.contextmanager
    def loop(self) -> Iterator[None]:
        """Time a loop, from its call until its result is known."""
        begin = self._watch.elapsed()
        self.host_seconds = begin - self._loop_end
        self.loop_seconds = 0.0
        yield
        self._loop_end = self._watch.elapsed()
        self.loop_seconds += self._loop_end - begin
        self._in_loops += self.loop_seconds

    @contextlib.contextmanager
    def host(self) -> Iterator[None]:
        """Time the host's work during a loop. On a CPU, the steps are over when it begins."""
        begin = self._watch.elapsed()
        yield
        seconds = self._watch.elapsed() - begin
        self.host_seconds += seconds
        self.loop_seconds -= seconds

    @contextlib.contextmanager
    def pause(self, metric: str | None = None, kind: str | None = None) -> Iterator[None]:
        """Time what isn't training.

        Args:
          metric: its seconds become a metric of the next summary; None if they do not.
          kind: what it is, to be told at the end, where the metric does not tell.
        """
        begin = self._clock()
        with self._watch.paused():
            yield
        seconds = self._clock() - begin
        if metric is not None:
            self.add(metric, seconds)
        elif kind is not None:
            self._by_kind[kind] = self._by_kind.get(kind, 0.0) + seconds

    def add(self, metric: str, seconds: float) -> None:
        """Add seconds to a metric of the next summary."""
        self._pauses[metric] = self._pauses.get(metric, 0.0) + seconds
        self._by_kind[_KINDS[metric]] = self._by_kind.get(_KINDS[metric], 0.0) + seconds

    @property
    def by_kind(self) -> dict[str, float]:
        """The kinds of work -> the seconds of the run that they took, from the most to the least."""
        training = self._watch.elapsed() - self._begin - self._waited
        found = {"training": training, "waiting for data": self._waited, **self._by_kind}
        return dict(sorted(found.items(), key=lambda each: -each[1]))

    def lap(self, fetched: Fetched, steps_summed: int) -> tuple[float, dict[str, float]]:
        """End the interval of a summary.

        Args:
          fetched: what its steps were given, except for those in pauses.
          steps_summed: the number of steps in its metrics, including those that were compiled, and those before a resume.

        Returns:
          The seconds that so many steps take without the pauses (with them, if all were in pauses), and the time metrics.
        """
        before, self._start = self._start, self._watch.elapsed()
        seconds, in_loops, pauses = self._start - before, self._in_loops, self._pauses
        self._in_loops, self._pauses = 0.0, {}
        if not fetched.steps or not seconds:
            return seconds + sum(pauses.values()), pauses
        self._warn_of_waiting(seconds, fetched.waited)
        return seconds * steps_summed / fetched.steps, {
            "time/step_ms": 1000 * seconds / fetched.steps,
            "time/host_fraction": 1 - in_loops / seconds,
            "time/data_wait_fraction": fetched.waited / seconds,
            "throughput/examples_per_sec": fetched.examples / seconds,
            **pauses,
        }

    def _warn_of_waiting(self, seconds: float, waited: float) -> None:
        self._seconds += seconds
        self._waited += waited
        part = self._waited / self._seconds
        if part > _MUCH_WAITING and self._seconds >= _ENOUGH_SECONDS and not self._has_warned:
            self._has_warned = True
            logging.warning(
                "%.0f%% of the training time so far was spent waiting for data. If the examples fit into memory, "
                "Input.cache = True reads them once; rows by number can be read by more Input.read_threads or, where a "
                "transform is Python code, Input.read_processes; otherwise make the source or Input.map_fn cheaper. The metric "
                "time/data_wait_fraction shows the current share.",
                100 * part,
            )
