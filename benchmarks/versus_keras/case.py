"""One case: a known number, and how Keras and Tallyloop compute it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable

import numpy as np

Value = float | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Case:
    """A number that is computed in three ways.

    Attributes:
      name: of the row.
      exact: the number worked out without a framework, or by a plain loop on one device.
      keras: replicas -> the result of `fit` or `evaluate`.
      tallyloop: replicas -> the result of the Trainer.
      form: the format of a value, with one placeholder for all its numbers or one for each.
      keras_replicas: the numbers of replicas to run Keras on.
      tallyloop_replicas: the numbers of replicas to run Tallyloop on.
      tolerance: of a right number, relative or absolute.
    """

    name: str
    exact: Callable[[], Value]
    keras: Callable[[int], Value]
    tallyloop: Callable[[int], Value]
    form: str = "{:.4g}"
    keras_replicas: tuple[int, ...] = (1, 2, 4)
    tallyloop_replicas: tuple[int, ...] = (2, 4)
    tolerance: float = 1e-5

    def write(self, value: Value) -> str:
        """Return a value as text; a form with one placeholder applies to each of several numbers."""
        if self.form.count("{") > 1:
            return self.form.format(*_parts(value))
        return ", ".join(self.form.format(part) for part in _parts(value))

    def is_right(self, value: Value | Failure) -> bool:
        """Return whether `value` is the exact one, within the tolerance."""
        if isinstance(value, Failure):
            return False
        expected, found = _parts(self.exact()), _parts(value)
        close = np.allclose(found, expected, rtol=self.tolerance, atol=self.tolerance)
        return len(found) == len(expected) and bool(close)


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error instead of a number.

    Attributes:
      message: its class and its first meaningful line.
    """

    message: str


class WorkerError(RuntimeError):
    """An error that another process raised, with its message."""


def attempt(compute: Callable[[int], Value], replicas: int) -> Value | Failure:
    """Return the number or the error, either of which belongs into the table."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return compute(replicas)
    except WorkerError as error:
        return Failure(str(error))
    except Exception as error:
        return Failure(f"{type(error).__name__}: {_meaningful_line(str(error))}")


# TensorFlow and Keras first report that there was an error and where, and only then which one.
_WHERE = re.compile(
    r"Graph execution error|Exception encountered when calling|Could not automatically infer|Error encountered"
    r"|Detected at node|File \"|The error could be|\d+ root error"
)
# Colours, values of tensors, the place where a variable was made, long device names and numbered codes do not help.
_NOISE = (
    (re.compile("\x1b\\[[0-9;]*m"), ""),
    (re.compile(r"PerReplica:\{.*?\}", re.DOTALL), "PerReplica:{...}"),
    (re.compile(r"resource \S+ \(defined @ [^)]*\)"), "resource <variable>"),
    (re.compile(r"placeholder tensor '[^']*'"), "placeholder tensor"),
    (re.compile(r"/job:\w+/replica:\d+/task:\d+/device:"), ""),
    (re.compile(r"\(\d+\) [A-Z_]+:\s+"), ""),
)


def _meaningful_line(message: str) -> str:
    """Return the first sentence that describes the error."""
    for pattern, instead in _NOISE:
        message = pattern.sub(instead, message)
    lines = [line.strip() for line in message.splitlines()]
    meaningful = [line for line in lines if line and not _WHERE.match(line)]
    return (meaningful or [message])[0].split(". ")[0][:200]


def _parts(value: Value) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
