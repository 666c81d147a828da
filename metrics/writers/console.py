"""The run as its user sees it: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from ..stopwatch import Speedometer
from .bar import Bar
from .summary import Summary, scalars

_SECONDS_BETWEEN_FRAMES = 0.2
_MOST_METRICS = 8  # per line; the others are in TensorBoard
_MOST_LOSSES = 2  # on the bar


class ConsoleWriter:
    """Shows the progress of a run on `stream`.

    On a terminal, a bar at the bottom shows the step, the loss, the speed and the time left, and each evaluation leaves a
    line above it. Elsewhere, such as in a log file, each summary is one line.

    Use it on the training thread, not behind an `AsyncWriter`: it measures the speed when it is called.

    Args:
      stream: standard output or standard error; None shows nothing, on workers other than the chief.
      total_steps: the step at which training ends; None if it ends with the data.
      global_batch_size: examples per step, over all replicas.
      clock: returns seconds, for the speed.
      is_terminal: None asks the stream.
    """

    def __init__(
        self,
        stream: TextIO | None,
        total_steps: int | None,
        global_batch_size: int,
        clock: Callable[[], float] = time.monotonic,
        is_terminal: bool | None = None,
    ):
        self._stream = stream
        self._total_steps = total_steps
        self._batch_size = global_batch_size
        self._clock = clock
        self._next_frame = -float("inf")
        self._losses: dict[str, float] = {}
        self._speed = Speedometer(clock)
        self._bar = Bar(stream) if stream is not None and _is_terminal(stream, is_terminal) else None

    @property
    def recent_speed(self) -> float | None:
        """Steps per second since the last train summary, without the pauses; None before it is known."""
        return self._speed.steps_per_second

    def paused(self) -> AbstractContextManager[None]:
        """Keep the time of the block, such as an evaluation or a checkpoint, out of the speed."""
        return self._speed.paused()

    def note(self, text: str) -> None:
        """Show what keeps the run busy before its first steps, such as "compiling ..."."""
        if self._bar is None:
            self._print(text)
        else:
            self._bar.show([text])

    def progress(self, step: int) -> None:
        """Note that the run has reached `step`. Cheap: the bar is redrawn at most a few times per second."""
        self._speed.advance(step)
        if self._bar is not None and self._clock() >= self._next_frame:
            self._draw(self._bar, step)

    def write(self, summary: Summary) -> None:
        """Show a summary."""
        if summary.split == "train":
            self._write_train(summary)
        else:
            self._print(eval_line(summary))

    def flush(self) -> None:
        """Bring everything onto the stream."""
        if self._bar is not None and self._speed.step is not None:
            self._draw(self._bar, self._speed.step)
        if self._stream is not None:
            self._stream.flush()

    def close(self) -> None:
        """Leave the bar as it is and release the terminal."""
        self.flush()
        if self._bar is not None:
            self._bar.close()

    def _write_train(self, summary: Summary) -> None:
        # The numbers of one inner loop arrive after the next one was dispatched, so `progress` may be ahead.
        reached = summary.step if self._speed.step is None else max(summary.step, self._speed.step)
        if reached != self._speed.step:
            self._speed.advance(reached)
        self._losses = _losses(scalars(summary)) or self._losses
        self._batch_size = _mean_batch_size(summary) or self._batch_size
        if self._bar is None:
            step = self._step_part(summary.step)
            self._print(" | ".join([step, *_metric_parts(summary), *self._speed_parts(reached)]))
        else:
            self._draw(self._bar, reached)
        self._speed.lap()

    def _draw(self, bar: Bar, step: int) -> None:
        losses = [f"{path} {_number(value)}" for path, value in self._losses.items()]
        done = step / self._total_steps if self._total_steps else None
        bar.show([self._step_part(step), *losses, *self._speed_parts(step)], done)
        self._next_frame = self._clock() + _SECONDS_BETWEEN_FRAMES

    def _step_part(self, step: int) -> str:
        return f"step {step}" if self._total_steps is None else f"step {step}/{self._total_steps}"

    def _speed_parts(self, step: int) -> list[str]:
        speed = self.recent_speed
        if speed is None:
            return []
        parts = [f"{_number(speed)} steps/s", f"{_number(speed * self._batch_size)} examples/s"]
        if self._total_steps is not None:
            parts.append(f"ETA {_duration(max(0, self._total_steps - step) / speed)}")
        return parts

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.print_above(line)
        elif self._stream is not None:
            # One call, so that lines of other threads and processes come between lines, not inside one.
            self._stream.write(line + "\n")
            self._stream.flush()


def eval_line(summary: Summary) -> str:
    """Return an evaluation as one line."""
    return " | ".join([f"eval  {summary.step}", *_metric_parts(summary)])


def _losses(values: dict[str, float]) -> dict[str, float]:
    """Return the loss or, without one, the first of several losses, which stand below `loss`."""
    if "loss" in values:
        return {"loss": values["loss"]}
    several = [path for path in values if path.startswith("loss/")]
    return {path: values[path] for path in several[:_MOST_LOSSES]}


def _metric_parts(summary: Summary) -> list[str]:
    """Return the scalars of a summary as "path value", the loss first, and the learning rate, which is no result, last.

    The name of an eval set goes before the path.
    """
    values = scalars(summary)
    paths = sorted(values, key=lambda path: (path != "loss", path.startswith("learning_rate"), path))
    _, _, name = summary.split.partition("/")
    prefix = f"{name}/" if name else ""
    parts = [f"{prefix}{path} {_number(values[path])}" for path in paths[:_MOST_METRICS]]
    if len(paths) > _MOST_METRICS:
        parts.append(f"(+{len(paths) - _MOST_METRICS} more in TensorBoard)")
    return parts


def _mean_batch_size(summary: Summary) -> float | None:
    """Return the examples per step that the run measured, if it did: the last batch of an epoch may be short."""
    times = summary.times
    if "throughput/examples_per_sec" not in times:
        return None
    return times["throughput/examples_per_sec"] * times["time/step_ms"] / 1000


def _number(value: float) -> str:
    """Return four significant digits, or a whole number with thousands separators from 10,000 to a billion."""
    if 9999.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _duration(seconds: float) -> str:
    """Return hours, minutes and seconds, such as "1:02:03", with days in front if there are any."""
    return str(datetime.timedelta(seconds=math.ceil(seconds)))


def _is_terminal(stream: TextIO, is_terminal: bool | None) -> bool:
    if is_terminal is None:
        return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return is_terminal
