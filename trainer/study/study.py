"""Runs the trials of a study: as many at once as asked for, each a process of its own, and goes on where it was stopped."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ...metrics.atomic_file import replace_file
from ...metrics.writers.run_files import CONFIG
from ..distribution.forwarding import Signals
from ..errors import DONE, FAILED, PREEMPTED, WRONG_USAGE
from ..loop import folder_lock
from ..report.ending import ending
from ..report.run import best_point
from .book import Book, Outcome, Trial, add_row, best, label
from .process import OUTPUT, Process, points
from .space import Space

BEST = "best.gin"
_POLL_SECONDS = 0.2
_FAILURES_AT_START = 3  # of a study in which nothing else has ended: the config is wrong, not a value

Command = Callable[[Path, Sequence[str]], list[str]]
"""Given the folder of a trial and its bindings, returns what trains it."""


def run(name: str, folder: Path, space: Space, make_book: Callable[[], Book], command: Command, jobs: int) -> int:
    """Run a study to its end, or until a signal; return the exit code.

    Args:
      name: of the study.
      folder: of the study.
      space: what varies.
      make_book: returns what remembers the trials, once the folder is this process's.
      command: makes the command of a trial.
      jobs: how many trials are under way at once.

    Raises:
      UsageError: another process runs this study, or the book cannot be read.
    """
    with folder_lock.claimed(folder), Signals() as signals:
        study = _Study(name, folder, space, make_book(), command, jobs)
        study.run(signals)
        return study.report(signals.stopping)


class _Study:
    def __init__(self, name: str, folder: Path, space: Space, book: Book, command: Command, jobs: int):
        self._name = name
        self._folder = folder
        self._space = space
        self._book = book
        self._command = command
        self._jobs = jobs
        self._running: list[Process] = []
        self._codes: list[int] = []  # of the trials that failed now
        self._is_new: bool = False  # whether a trial was started now
        self._under_way = collections.deque(trial for trial in book.trials() if trial.outcome is None)
        print(f"Study {name} in {folder}: {_side(space)} {space.metric} is better.", flush=True)

    def run(self, signals: Signals) -> None:
        """Run trials until there are no more."""
        self._write_best()
        while True:
            while not signals.stopping and len(self._running) < self._jobs and (trial := self._next()):
                self._start(trial)
                signals.watch(list(self._running))
            if not self._running:
                return
            time.sleep(_POLL_SECONDS)
            for process in list(self._running):
                self._look(process, signals.stopping)

    def report(self, is_stopping: bool) -> int:
        """Print what came of it; return the exit code."""
        trials = self._book.trials()
        counts = collections.Counter(trial.outcome or "under way" for trial in trials)
        print(f"Study {self._name}: " + ", ".join(f"{count} {state}" for state, count in counts.items()), flush=True)
        if found := best(trials, self._space.mode):
            print(f"Best: trial {found.number}, {self._space.metric} {found.value:.6g}: {found.choice}")
            print(f"  its config:       {self._folder / BEST}")
            print(f"  compare:          tallyloop-report {shlex.quote(str(self._folder))}")
            print(f"  look at it:       tensorboard --logdir {shlex.quote(str(self._folder))}", flush=True)
        if not self._is_new and not is_stopping:
            print(_nothing_left(counts["failed"]))
        if is_stopping:
            print("Stopped. The same command continues what was under way.", flush=True)
            return PREEMPTED
        if found:
            return DONE
        return WRONG_USAGE if self._codes and set(self._codes) == {WRONG_USAGE} else FAILED

    def _next(self) -> Trial | None:
        if self._under_way:
            return self._under_way.popleft()
        nothing_else = not any(trial.outcome in ("done", "pruned") for trial in self._book.trials())
        if len(self._codes) >= _FAILURES_AT_START and nothing_else:
            return None
        return self._book.next()

    def _start(self, trial: Trial) -> None:
        folder = self._folder / trial.folder
        with folder_lock.first_write(folder):
            label(folder, self._name, trial)
        # What a study that was killed had seen, or had not come to see, and not acted on.
        hopeless = self._judged(trial, folder)
        if ending(folder).is_complete:
            self._done(trial, folder)
            return
        if hopeless:
            self._finish(trial, "pruned", reason=hopeless)
            return
        print(f"Trial {trial.number}: {trial.choice}", flush=True)
        self._is_new = True
        command = self._command(folder, self._space.bindings(trial.values))
        self._running.append(Process(trial, folder, command))

    def _look(self, process: Process, is_stopping: bool) -> None:
        """Pass on what a trial has evaluated, and note its end."""
        code = process.code  # before the metrics: those of a process that has ended are all there
        if process.has_news() or code is not None:
            hopeless = self._judged(process.trial, process.folder)
            if hopeless and code is None and not process.hopeless and not is_stopping:
                process.prune(hopeless)
        if code is not None:
            self._running.remove(process)
            self._end(process, code, is_stopping)

    def _judged(self, trial: Trial, folder: Path) -> str:
        """Pass on what a trial has evaluated; return why it had better be ended, empty if it had not."""
        found = points(folder, self._space)
        if not self._book.report(trial.number, found):
            return ""
        _, value = best_point(found, self._space.mode) or found[-1]
        return f"{self._space.metric} {value:.6g} by step {found[-1][0]}, worse than the median of the other trials"

    def _end(self, process: Process, code: int, is_stopping: bool) -> None:
        if code == DONE:
            self._done(process.trial, process.folder)
        elif process.hopeless:
            self._finish(process.trial, "pruned", reason=process.hopeless)
        elif code == PREEMPTED and not is_stopping:
            self._under_way.append(process.trial)  # somebody has stopped it, and not the study
        elif not is_stopping:
            self._fail(process.trial, code, process.failure())

    def _done(self, trial: Trial, folder: Path) -> None:
        found = best_point(points(folder, self._space), self._space.mode)
        if found is None:
            self._fail(trial, FAILED, f"no evaluation has a finite {self._space.metric}")
            return
        self._finish(trial, "done", found[1])

    def _fail(self, trial: Trial, code: int, reason: str) -> None:
        self._codes.append(code)
        folder = self._folder / trial.folder
        told = f"{reason} ({folder / OUTPUT})"
        add_row(folder, self._space.bindings(trial.values), told)
        self._finish(trial, "failed", reason=told)

    def _finish(self, trial: Trial, outcome: Outcome, value: float | None = None, reason: str = "") -> None:
        ended = dataclasses.replace(trial, outcome=outcome, value=value, reason=reason)
        label(self._folder / trial.folder, self._name, ended)
        self._book.finish(trial.number, outcome, value, reason)
        is_best = outcome == "done" and self._write_best() == trial.number
        told = (
            f"{self._space.metric} {value:.6g}{', the best so far' if is_best else ''}" if outcome == "done" else reason
        )
        print(f"Trial {trial.number} {outcome}{f': {told}' if told else ''}", flush=True)

    def _write_best(self) -> int | None:
        """Write the config of the best trial; return its number."""
        found = best(self._book.trials(), self._space.mode)
        if found is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            given = (self._folder / found.folder / CONFIG).read_text(encoding="utf-8")
            text = f"# Trial {found.number} of the study {self._name}: {self._space.metric} {found.value!r}\n{given}"
            replace_file(self._folder / BEST, [text.encode()])
        return found.number


def _nothing_left(failed: int) -> str:
    again = f" and tries the {failed} that failed again" if failed else ""
    more = "a larger --trials, or more values in --grid, adds trials"
    return f"Nothing was left to do: {more}; another --study begins anew{again}."


def _side(space: Space) -> str:
    return "more of" if space.mode == "max" else "less of"
