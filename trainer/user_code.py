"""Errors of the user's code, told by the line that caused them."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import tensorflow as tf

from ..metrics.errors import DataError, UsageError
from .task import Task, has_several_losses

_PACKAGE = Path(__file__).parents[1]
_DATA = str(_PACKAGE / "data")
_PATHS = sysconfig.get_paths()
_NOT_USERS = (
    *(str(_PACKAGE / room) for room in ("trainer", "metrics", "data")),
    *(_PATHS[key] for key in ("purelib", "platlib", "stdlib")),
    "<",  # code that was never in a file
)
_LONGEST_LINE = 300
_MOST_LINES = 5  # of a message: what follows in those of Keras are its arguments once more
_NOISE = [(re.compile(pattern), new) for pattern, new in (
    (r"\x1b\[[0-9;]*m", ""),  # colours
    (r"'\{\{node \S+\}\} = (\w+)\[.*?\]\(.*?\)'", r"\1"),  # the node that could not be made
    (r"Arguments received by [\s\S]*", ""),
)]  # fmt: skip
# What TensorFlow's message about a failed operation has besides the reason.
_OF_THE_STACK = re.compile(r"Graph execution error|Detected at node|Traceback|Original stack|Node: |\s")
_NO_VALUES = "While a step is traced, its tensors have no values: use "
_HINTS = (
    (
        "is incompatible with the layer",
        "The data does not fit the model: change the model, or the dataset's Input.source or Input.map_fn.",
    ),
    ("numpy array|NumPy call|__array__", _NO_VALUES + "tf or keras.ops instead of NumPy."),
    ("as a Python `bool`", _NO_VALUES + "tf.where or tf.cond instead of Python's if, while, and, or."),
    ("as a Python `int`|interpreted as an integer", _NO_VALUES + "tf.shape(x)[0] for the size of the batch."),
)


@contextlib.contextmanager
def traced_on(dataset: str, batch: Callable[[], Any]) -> Iterator[None]:
    """Tell an error of the task by the user's line, and the batches that the task was traced on.

    Args:
      dataset: the binding of the batches.
      batch: returns a nest of `tf.TensorSpec`; called only after an error.

    Raises:
      UsageError: the task raised anything but an error about a file or an example. With its traceback as the cause.
    """
    try:
        yield
    except (DataError, OSError, tf.errors.OpError):
        raise
    except UsageError as error:
        if _user_frame(error) is not None and not _is_of_data(error):
            error.add_note(f"(while the task was traced on a batch of {dataset})")
        raise
    except Exception as error:
        frame = _user_frame(error)
        if frame is None:
            raise
        raise UsageError(_told(error, frame, f"A batch of {dataset}", batch())) from error


@contextlib.contextmanager
def returned_by(method: Any) -> Iterator[None]:
    """Begin an error about what a task's method returned with the place of that method.

    Raises:
      UsageError: one was raised inside.
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place_of(method)}: {error}") from error


@contextlib.contextmanager
def called_as(method: Any, arguments: str) -> Iterator[None]:
    """Tell a task's method that does not take the arguments it is called with by its place.

    Raises:
      UsageError: it does not.
    """
    try:
        yield
    except TypeError as error:
        if _user_frame(error) is not None:  # so it took them
            raise
        raise UsageError(f"{place_of(method)}: {error}: expected the parameters {arguments}.") from error


def raised(error: BaseException) -> str | None:
    """Return an error of the user's code by the line that raised it; None if no line of the user's was running."""
    frame = _user_frame(error)
    return None if frame is None else "\n".join(_line_and_message(frame, _message(error)))


def raised_in_a_step(error: tf.errors.OpError) -> str | None:
    """Return an error of an operation by the user's line that made the operation, as TensorFlow's message tells it.

    None if the operation is not of the user's code.
    """
    frames = [
        traceback.FrameSummary(file, int(line), name)
        for file, line, name in re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
    ]
    of_user = [frame for frame in frames if not _is_ours(frame.filename) and not frame.filename.startswith(_NOT_USERS)]
    if not of_user:
        return None
    told = [line for line in str(error).splitlines() if line.strip() and not _OF_THE_STACK.match(line)]
    return "\n".join(_line_and_message(of_user[-1], f"{type(error).__name__}: {(told or [''])[0].strip()}"))


def place_of(method: Any) -> str:
    """Return `file:line, in name` of a task's method; of `loss` or `losses`, where the task's own steps only call it."""
    task, code = getattr(method, "__self__", None), _code_of(method)
    if code is not None and _is_ours(code.co_filename):
        several = isinstance(task, Task) and has_several_losses(task)
        code = _code_of(getattr(task, "losses" if several else "loss", method))
    return repr(method) if code is None else f"{code.co_filename}:{code.co_firstlineno}, in {code.co_name}"


def _code_of(method: Any) -> CodeType | None:
    return getattr(inspect.unwrap(method), "__code__", None)


def _told(error: Exception, frame: traceback.FrameSummary, name: str, batch: Any) -> str:
    lines = _line_and_message(frame, _message(error))
    lines += [f"  {hint}" for pattern, hint in _HINTS if re.search(pattern, str(error))]
    lines.append(f"  {name}: {_described(batch)}.")
    if _looks_batched(batch):
        lines.append(
            "  Each example has a leading axis, in every component: if the source is batched already, unbatch() it."
        )
    return "\n".join(lines)


def _line_and_message(frame: traceback.FrameSummary, message: str) -> list[str]:
    source = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return [f"{frame.filename}:{frame.lineno}, in {frame.name}: {source}", f"  {message}"]


def _message(error: BaseException) -> str:
    text = str(error)
    for pattern, new in _NOISE:
        text = pattern.sub(new, text)
    lines = [textwrap.shorten(line, _LONGEST_LINE) for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: " + "\n  ".join(lines[:_MOST_LINES])


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return ", ".join(f"{key!r} {_described(each)}" for key, each in batch.items())
    if isinstance(batch, tf.TensorSpec):
        return f"{batch.dtype.name}({', '.join('batch' if i == 0 else str(n) for i, n in enumerate(batch.shape))})"
    return f"({', '.join(map(_described, batch))})" if isinstance(batch, tuple | list) else repr(batch)


def _looks_batched(batch: Any) -> bool:
    """Return whether all components have a second axis of one size, or of none that is known."""
    shapes = [spec.shape for spec in tf.nest.flatten(batch)]
    return all(shape.rank is not None and shape.rank >= 2 for shape in shapes) and len({s[1] for s in shapes}) == 1


def _is_of_data(error: BaseException) -> bool:
    """Return whether `tallyloop.data` raised it: it is about a file or an example, whatever function of the user's was mapped."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_DATA)


def _user_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the innermost frame of the user's code, or else of a bundled task; None if there is neither."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_USERS)]
    of_user = [frame for frame in frames if not _is_ours(frame.filename)]
    return (of_user or frames or [None])[-1]


def _is_ours(filename: str) -> bool:
    return filename.startswith(tuple(str(_PACKAGE / room) for room in ("trainer", "metrics", "data", "models")))
