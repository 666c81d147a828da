"""The run as its user sees it: a progress bar on a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from .bar import Bar
from .speed import Speedometer
from .summary import Summary, scalars
from .text import duration, eval_line, metric_parts, number

_SECONDS_BETWEEN_FRAMES = 0.2


class ConsoleWriter:
    """Shows the progress of a run on `stream`.

    On a terminal, a bar at the bottom has the step, the loss, the speed and the time that is left, and each
    evaluation leaves a line above it. Elsewhere, such as in a log file, each summary is a line.

    It is meant for the training thread, not for an `AsyncWriter`: speed is measured when it is called.

    Args:
      stream: standard output or standard error.
      total_steps: the step at which training ends, or None if it ends with the data.
      global_batch_size: examples in a step, over all replicas.
      clock: seconds, for the speed.
      is_terminal: None asks the stream.
    """

    def __init__(
        self,
        stream: TextIO,
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
        self._loss: float | None = None
        self._speed = Speedometer(clock)
        self._bar = Bar(stream) if _is_terminal(stream, is_terminal) else None

    @property
    def recent_speed(self) -> float | None:
        """Steps per second since the last train summary, without the pauses; None before it is known."""
        return self._speed.steps_per_second

    def paused(self) -> AbstractContextManager[None]:
        """Keeps the time of the block, such as an evaluation or a checkpoint, out of the speed."""
        return self._speed.paused()

    def note(self, text: str) -> None:
        """Says what keeps the run busy before its first steps, such as "compiling ..."."""
        if self._bar is None:
            self._print(text)
        else:
            self._bar.show([text])

    def progress(self, step: int) -> None:
        """The run has reached `step`. Cheap: it redraws the bar a few times a second at the most."""
        self._speed.advance(step)
        if self._bar is not None and self._clock() >= self._next_frame:
            self._draw()

    def write(self, summary: Summary) -> None:
        """Shows a summary."""
        if summary.split == "train":
            self._write_train(summary)
        else:
            self._print(eval_line(summary))

    def flush(self) -> None:
        """Brings everything onto the stream."""
        if self._bar is not None and self._speed.step is not None:
            self._draw()
        self._stream.flush()

    def close(self) -> None:
        """Leaves the bar as it stands and gives the terminal back."""
        self.flush()
        if self._bar is not None:
            self._bar.close()

    def _write_train(self, summary: Summary) -> None:
        # The numbers of one inner loop arrive after the next one was dispatched, so `progress` may be ahead.
        if self._speed.step is None or summary.step > self._speed.step:
            self._speed.advance(summary.step)
        self._loss = scalars(summary).get("loss", self._loss)
        self._batch_size = _mean_batch(summary) or self._batch_size
        if self._bar is None:
            step = self._step_part(summary.step)
            self._print(" | ".join([step, *metric_parts(summary), *self._speed_parts()]))
        else:
            self._draw()
        self._speed.lap()

    def _draw(self) -> None:
        step = self._speed.step
        loss = [] if self._loss is None else [f"loss {number(self._loss)}"]
        done = step / self._total_steps if self._total_steps else None
        self._bar.show([self._step_part(step), *loss, *self._speed_parts()], done)
        self._next_frame = self._clock() + _SECONDS_BETWEEN_FRAMES

    def _step_part(self, step: int) -> str:
        return f"step {step}" if self._total_steps is None else f"step {step}/{self._total_steps}"

    def _speed_parts(self) -> list[str]:
        speed = self.recent_speed
        if speed is None:
            return []
        parts = [f"{number(speed)} steps/s", f"{number(speed * self._batch_size)} examples/s"]
        if self._total_steps is not None:
            parts.append(f"ETA {duration(max(0, self._total_steps - self._speed.step) / speed)}")
        return parts

    def _print(self, line: str) -> None:
        if self._bar is None:
            # One call, so that lines of other threads and processes come between lines, not inside one.
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            self._bar.print_above(line)


def _mean_batch(summary: Summary) -> float | None:
    """Examples a step, as far as the run has said it: of an epoch, the last batch may be short."""
    times = summary.times
    if "throughput/examples_per_sec" not in times:
        return None
    return times["throughput/examples_per_sec"] * times["time/step_ms"] / 1000


def _is_terminal(stream: TextIO, is_terminal: bool | None) -> bool:
    if is_terminal is None:
        return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return is_terminal
