"""The run as its user sees it: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import TextIO

from ..stopwatch import Speedometer
from ..writers.better import Mode
from ..writers.summary import Summary, scalars
from . import text
from .display import Display
from .scores import Scores
from .spinner import doing

_SECONDS_BETWEEN_FRAMES = 0.2
_MOST_METRICS = 8  # per line; the others are in TensorBoard
_MOST_BEST = 12  # lines at the end of a plain log


class ConsoleWriter:
    """Shows the progress of a run on `stream`.

    On a terminal, a bar at the bottom shows the step, the time left and the speed, and a table below it the metrics: the last
    values, whether they are better than those before, and the best. Each evaluation leaves a line above. Elsewhere, such as in a
    log file, each summary is one line.

    Use it on the training thread, not behind an `AsyncWriter`: it measures the speed when it is called.

    Args:
      stream: standard output or standard error; None shows nothing, on workers other than the chief.
      total_steps: the step at which training ends; None if it ends with the data.
      global_batch_size: examples per step, over all replicas.
      clock: returns seconds, for the speed.
      is_terminal: None asks the stream.
      sides: metric, or DATASET/METRIC -> which side of it is better; of others, their name may tell.
      metrics: the run's metrics.jsonl, of which a run that continues takes its best values.
    """

    def __init__(
        self,
        stream: TextIO | None,
        total_steps: int | None,
        global_batch_size: int,
        clock: Callable[[], float] = time.monotonic,
        is_terminal: bool | None = None,
        sides: Mapping[str, Mode] = MappingProxyType({}),
        metrics: Path | None = None,
    ):
        self._stream = stream
        self._total_steps = total_steps
        self._batch_size = global_batch_size
        self._clock = clock
        self._next_frame = -float("inf")
        self._waiting: float | None = None  # the share of the time, in the last summary
        self._scores = Scores(sides)
        self._metrics = metrics
        self._speed = Speedometer(clock)
        fancy = stream is not None and (text.is_terminal(stream) if is_terminal is None else is_terminal)
        self._display = Display(stream) if stream is not None and fancy else None

    @property
    def recent_speed(self) -> float | None:
        """Steps per second since the last train summary, without the pauses; None before it is known."""
        return self._speed.steps_per_second

    def paused(self) -> AbstractContextManager[None]:
        """Keep the time of the block, such as an evaluation or a checkpoint, out of the speed."""
        return self._speed.paused()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Like `paused`; on a terminal, say what is being done: with a spinner before the first step, and in the bar after it."""
        display = self._display
        spins = display is not None and not display.is_shown
        with self.paused():
            if display is not None and not spins and self._speed.step is not None:
                self._draw(display, self._speed.step, what)
            with doing(what, shown=spins):
                yield

    def resume(self, step: int) -> None:
        """Print the step at which the run continues, and take its best values up to there."""
        if self._metrics is not None:
            self._scores.read(self._metrics, step)
        self.say(f"Continues from step {step}" + (f" of {self._total_steps}." if self._total_steps else "."))

    def say(self, line: str) -> None:
        """Print a line that stays."""
        if self._display is not None:
            self._display.print_above(line)
        elif self._stream is not None:
            # One call, so that lines of other threads and processes come between lines, not inside one.
            self._stream.write(line + "\n")
            self._stream.flush()

    def progress(self, step: int) -> None:
        """Note that the run has reached `step`. Cheap: the display is redrawn at most a few times per second."""
        self._speed.advance(step)
        if self._display is not None and self._clock() >= self._next_frame:
            self._draw(self._display, step)

    def write(self, summary: Summary) -> None:
        """Show a summary."""
        self._scores.take(summary)
        if summary.split == "train":
            self._write_train(summary)
        else:
            self.say(eval_line(summary, None if self._display is None else self._display.size[0]))

    def finish(self, lines: list[str]) -> None:
        """End with the last frame and these lines; if there are any, elsewhere than on a terminal, with the best values, too."""
        self.close()
        for line in lines if self._display is not None or not lines else [*self._best(), *lines]:
            self.say(line)

    def flush(self) -> None:
        """Bring everything onto the stream."""
        if self._display is not None and self._speed.step is not None:
            self._draw(self._display, self._speed.step)
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        """Leave the last frame as it is and release the terminal. Further calls do nothing."""
        if self._display is None or self._display.is_shown:
            self.flush()
        if self._display is not None:
            self._display.close()

    def _write_train(self, summary: Summary) -> None:
        # The numbers of one inner loop arrive after the next one was dispatched, so `progress` may be ahead.
        reached = summary.step if self._speed.step is None else max(summary.step, self._speed.step)
        if reached != self._speed.step:
            self._speed.advance(reached)
        self._batch_size = _mean_batch_size(summary) or self._batch_size
        self._waiting = summary.times.get("time/data_wait_fraction", self._waiting)
        if self._display is None:
            step = self._step_part(summary.step)
            self.say(" | ".join([step, *_metric_parts(summary), *self._speed_parts(reached)]))
        else:
            self._draw(self._display, reached)
        self._speed.lap()

    def _draw(self, display: Display, step: int, what: str = "") -> None:
        done = step / self._total_steps if self._total_steps else None
        eta, *speeds = self._eta_first(step, "ex/s", "wait {:.0%}")
        status = [f"{what} ..."] if what else [eta] if eta else []
        display.show([self._step_part(step), *status, *speeds], done, self._scores.table(*display.size))
        self._next_frame = self._clock() + _SECONDS_BETWEEN_FRAMES

    def _step_part(self, step: int) -> str:
        return f"step {step}" if self._total_steps is None else f"step {step}/{self._total_steps}"

    def _eta_first(self, step: int, examples: str, waits: str) -> list[str]:
        """Return the time left, "" if it is unknown, and the speeds: where a line is short, the last ones are left out."""
        speed = self.recent_speed
        if speed is None:
            return [""]
        waiting = [] if self._waiting is None else [waits.format(self._waiting)]
        eta = "" if self._total_steps is None else _eta(self._total_steps - step, speed)
        return [eta, f"{text.number(speed)} steps/s", f"{text.number(speed * self._batch_size)} {examples}", *waiting]

    def _speed_parts(self, step: int) -> list[str]:
        eta, *speeds = self._eta_first(step, "examples/s", "{:.0%} waiting for data")
        return [*speeds, *([eta] if eta else [])]

    def _best(self) -> list[str]:
        """Return a line per evaluated metric of which the better side is known."""
        lines = []
        for split in self._scores.splits:
            prefix = f"{split}/" if "/" in split else ""  # of one of several eval sets
            for path, score in self._scores.of(split).items() if split != "train" else ():
                if score.best is not None:
                    best = f"best {text.number(score.best)} at step {score.best_step}"
                    lines.append(f"{prefix}{path}: last {text.number(score.last)}, {best}")
        more = [f"(+{len(lines) - _MOST_BEST} more in TensorBoard)"] if len(lines) > _MOST_BEST else []
        return [*lines[:_MOST_BEST], *more]


def eval_line(summary: Summary, width: int | None = None) -> str:
    """Return an evaluation as one line, with as many metrics as go into `width` columns, if it is limited."""
    line, *parts = [f"{summary.split}  {summary.step}", *_metric_parts(summary)]
    for i, part in enumerate(parts):
        longer = f"{line} | {part}"
        if width is not None and i and len(longer) + (len(" | ...") if i < len(parts) - 1 else 0) > width:
            return f"{line} | ..."
        line = longer
    return line


def _metric_parts(summary: Summary) -> list[str]:
    """Return the scalars of a summary as "path value", in their order."""
    values = scalars(summary)
    paths = text.in_order(values)
    parts = [f"{path} {text.number(values[path])}" for path in paths[:_MOST_METRICS]]
    if len(paths) > _MOST_METRICS:
        parts.append(f"(+{len(paths) - _MOST_METRICS} more in TensorBoard)")
    return parts


def _mean_batch_size(summary: Summary) -> float | None:
    """Return the examples per step that the run measured, if it did: the last batch of an epoch may be short."""
    times = summary.times
    if "throughput/examples_per_sec" not in times:
        return None
    return times["throughput/examples_per_sec"] * times["time/step_ms"] / 1000


def _eta(steps: int, speed: float) -> str:
    return f"ETA {text.duration(max(0, steps) / speed)}"
