"""One case: a number that is known, and what Keras and Tallyloop make of it."""

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
    """What is computed, in three ways.

    Attributes:
      name: what is compared.
      exact: the number worked out without a framework, or by a plain loop on one device.
      keras: replicas -> what `fit` or `evaluate` gives.
      tallyloop: replicas -> what the Trainer gives.
      form: how a value is written; one placeholder a number.
      keras_replicas: the numbers of replicas that Keras is asked for.
      tallyloop_replicas: and Tallyloop.
      tolerance: by how much a right number may differ, relative or absolute.
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
        """The value as text; a form of one number stands for each of several."""
        if self.form.count("{") > 1:
            return self.form.format(*_parts(value))
        return ", ".join(self.form.format(part) for part in _parts(value))

    def is_right(self, value: Value | Failure) -> bool:
        """Whether `value` is the exact one, within the tolerance."""
        if isinstance(value, Failure):
            return False
        expected, found = _parts(self.exact()), _parts(value)
        close = np.allclose(found, expected, rtol=self.tolerance, atol=self.tolerance)
        return len(found) == len(expected) and bool(close)


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error in place of a number.

    Attributes:
      message: its class and the line that tells.
    """

    message: str


class WorkerError(RuntimeError):
    """An error of another process, in its words."""


def attempt(compute: Callable[[int], Value], replicas: int) -> Value | Failure:
    """The number, or what went wrong: the table is about that."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return compute(replicas)
    except WorkerError as error:
        return Failure(str(error))
    except Exception as error:
        return Failure(f"{type(error).__name__}: {_telling_line(str(error))}")


# TensorFlow and Keras say first that there was an error and where, and only then which.
_WHERE = re.compile(
    r"Graph execution error|Exception encountered when calling|Could not automatically infer|Error encountered"
    r"|Detected at node|File \"|The error could be|\d+ root error"
)
# Colours, the values of tensors, where a variable was made, long names of devices, and numbered codes tell nothing.
_NOISE = (
    (re.compile("\x1b\\[[0-9;]*m"), ""),
    (re.compile(r"PerReplica:\{.*?\}", re.DOTALL), "PerReplica:{...}"),
    (re.compile(r"resource \S+ \(defined @ [^)]*\)"), "resource <variable>"),
    (re.compile(r"placeholder tensor '[^']*'"), "placeholder tensor"),
    (re.compile(r"/job:\w+/replica:\d+/task:\d+/device:"), ""),
    (re.compile(r"\(\d+\) [A-Z_]+:\s+"), ""),
)


def _telling_line(message: str) -> str:
    """The first sentence that says what went wrong."""
    for pattern, instead in _NOISE:
        message = pattern.sub(instead, message)
    lines = [line.strip() for line in message.splitlines()]
    telling = [line for line in lines if line and not _WHERE.match(line)]
    return (telling or [message])[0].split(". ")[0][:200]


def _parts(value: Value) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
