"""Errors of the user's code, told by the line that caused them."""

from __future__ import annotations

import contextlib
import inspect
import linecache
import re
import textwrap
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary
from types import CodeType
from typing import Any

import tensorflow as tf

from ..metrics.errors import DataError, UsageError
from ..metrics.recording.user_frames import OF_AUTOGRAPH, frames_in, is_ours, of_user, place_of_frame, user_frames
from .task import Task, has_several_losses

_DATA = str(Path(__file__).parents[1] / "data")
_STEP = str(Path(__file__).parent / "step" / "replica.py")  # calls the task
_REPLICA = "tallyloop_replica"  # the attribute of an error
_tracing: list[str] = []  # the splits that are being traced, innermost last
_graphs: weakref.WeakKeyDictionary[tf.Graph, str | None] = (
    weakref.WeakKeyDictionary()
)  # that the task was traced in -> their split
_LONGEST_LINE = 300
_MOST_LINES = 5  # of a message: what follows in those of Keras are its arguments once more
_MOST_CALLERS = 5
_NOISE = [(re.compile(pattern, re.M), new) for pattern, new in (
    (r"\x1b\[[0-9;]*m", ""),  # colours
    (r"'\{\{node \S+\}\} = (\w+)\[.*?\]\(.*?\)'", r"\1"),  # the node that could not be made
    (r"Arguments received by [\s\S]*", ""),
    (r"^ *in user code:$|^ *File \".*\n.*$", ""),  # the frames that AutoGraph lists
)]  # fmt: skip
# What TensorFlow's message about a failed operation has besides the reason.
_OF_THE_STACK = re.compile(r"Graph execution error|Detected at node|<stack traces|Traceback|Original stack|Node: |\s")
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


@dataclass(frozen=True)
class Place:
    """Where the user's code was running.

    Attributes:
      split: "train", "eval/NAME" or "predict".
      dataset: the binding of the batches.
      when: such as "step 11".
    """

    split: str
    dataset: str
    when: str = "before the first step"

    def told(self, replica: str = "") -> str:
        """Return the place in words, such as "split train, step 11, replica 1 of 2"."""
        return ", ".join(filter(None, (f"split {self.split}", self.when, replica)))

    def lines(self, batch: Any, replica: str = "") -> list[str]:
        """Return the place and the batch, as lines of a message."""
        told = self.told(replica)
        return [f"  {told[0].upper()}{told[1:]}.", f"  A batch of {self.dataset}: {_described(batch)}."]


@contextlib.contextmanager
def traced_on(place: Place, batch: Callable[[], Any]) -> Iterator[None]:
    """Tell an error of the task by the user's line, and the batches that the task was traced on.

    Args:
      place: the split and the binding of the batches.
      batch: returns a nest of `tf.TensorSpec`; called only after an error.

    Raises:
      UsageError: the task raised anything but an error about a file or an example. With its traceback as the cause.
    """
    _tracing.append(place.split)
    try:
        yield
    except UsageError as error:
        if user_frames(error) and not _is_of_data(error):
            error.add_note(f"({place.told(_replica(error))}, while the task was traced on a batch of {place.dataset})")
        raise
    except Exception as error:
        frames = user_frames(error)
        about_files = isinstance(error, DataError | OSError | tf.errors.OpError)
        if not frames or (about_files and not _is_of_step(error)):
            raise
        raise UsageError(_told(error, frames, place, batch())) from error
    finally:
        _tracing.pop()


@contextlib.contextmanager
def on_replica(context: tf.distribute.ReplicaContext) -> Iterator[None]:
    """Note on an error of the user's code which replica it was raised on.

    Also registers the graph, so that an operation that fails at run time can be traced to its line.
    """
    if not tf.executing_eagerly():
        _graphs.setdefault(tf.compat.v1.get_default_graph(), _tracing[-1] if _tracing else None)
    try:
        yield
    except Exception as error:
        index = tf.get_static_value(tf.convert_to_tensor(context.replica_id_in_sync_group))
        if index is not None and not hasattr(error, _REPLICA):
            setattr(error, _REPLICA, f"replica {index} of {context.num_replicas_in_sync}")
        raise


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
        if user_frames(error):  # so it took them
            raise
        raise UsageError(f"{place_of(method)}: {error}: expected the parameters {arguments}.") from error


def raised(error: BaseException) -> str | None:
    """Return an error of the user's code by the line that raised it; None if no line of the user's was running."""
    frames = user_frames(error)
    return "\n".join(_lines(frames, _message(error))) if frames else None


def raised_in_a_step(error: tf.errors.OpError, place: Place | None = None, batch: Any = None) -> str | None:
    """Return an error of an operation by the user's line that made the operation, as TensorFlow's message tells it.

    None if the operation is not of the user's code.

    Args:
      error: what running the step raised.
      place: the split, and the steps that were running.
      batch: a nest of `tf.TensorSpec`, the batch.
    """
    node = re.search(r"Detected at node (\S+)", str(error))
    told = _frames_of(str(error)) or (_frames_of_node(node[1], place) if node else [])
    frames = [frame for frame in of_user(told) if not is_ours(frame.filename)]
    if not frames:
        return None
    lines = _lines(frames, f"{type(error).__name__}: {_reason(str(error))}")
    if place is not None:
        index = re.search(r"\breplica_(\d+)/", node[1]) if node else None
        lines += place.lines(batch, f"replica {index[1] if index else 0}")
    return "\n".join(lines)


def _frames_of(text: str) -> list[FrameSummary]:
    """Return the frames that made the operation, of the first of several errors, and those of the Python code that it called."""
    made, *called = re.split(r"^Traceback \(most recent call last\):$", text, flags=re.M)
    made = "".join(re.split(r"^Detected at node .*$", made, flags=re.M)[:2])
    return frames_in("\n".join([made, *called[:1]]))


def _frames_of_node(node: str, place: Place | None) -> list[FrameSummary]:
    """Return the frames that made an operation, by its name: the error of one that oneDNN replaced has no stack trace.

    Empty if graphs of several Trainers have other operations of that name: no line is better than a wrong one.
    """
    found = [
        operation
        for graph, split in _graphs.items()
        if place is None or split in (None, place.split)
        for operation in graph.get_operations()
        if f"/{node}".endswith(f"/{operation.name}")
    ]
    if not found:
        return []
    # In front of the name are the names of what the graph was put into: the longest name tells most.
    longest = max(len(operation.name) for operation in found)
    stacks = {
        tuple((frame.filename, frame.lineno, frame.name) for frame in operation.traceback or ())
        for operation in found
        if len(operation.name) == longest
    }
    users = {tuple(map(place_of_frame, of_user([FrameSummary(*frame) for frame in stack]))) for stack in stacks}
    return [FrameSummary(*frame) for frame in stacks.pop()] if len(users) == 1 else []


def _reason(text: str) -> str:
    """Return why an operation failed; of several errors, the first one's."""
    first = re.search(r"^\s*\(0\) [A-Z_]+:\s*(.+)$", text, re.M)
    told = [line for line in text.splitlines() if line.strip() and not _OF_THE_STACK.match(line)]
    return textwrap.shorten(first[1] if first else (told or [""])[0], _LONGEST_LINE)


def place_of(method: Any) -> str:
    """Return `file:line, in name` of a task's method; of `loss` or `losses`, where the task's own steps only call it."""
    task, code = getattr(method, "__self__", None), _code_of(method)
    if code is not None and is_ours(code.co_filename):
        several = isinstance(task, Task) and has_several_losses(task)
        code = _code_of(getattr(task, "losses" if several else "loss", method))
    return repr(method) if code is None else f"{code.co_filename}:{code.co_firstlineno}, in {code.co_name}"


def _code_of(method: Any) -> CodeType | None:
    return getattr(inspect.unwrap(method), "__code__", None)


def _told(error: Exception, frames: Sequence[FrameSummary], place: Place, batch: Any) -> str:
    lines = _lines(frames, _message(error))
    lines += [f"  {hint}" for pattern, hint in _HINTS if re.search(pattern, str(error))]
    lines += place.lines(batch, _replica(error))
    if _looks_batched(batch):
        lines.append(
            "  Each example has a leading axis, in every component: if the source is batched already, unbatch() it."
        )
    return "\n".join(lines)


def _lines(frames: Sequence[FrameSummary], message: str) -> list[str]:
    """Return the user's line that failed, why, and the lines of the user's that led there."""
    innermost, *callers = frames
    shown = [f"  called by {_line(frame)}" for frame in callers[:_MOST_CALLERS]]
    return [_line(innermost), f"  {message}", *shown]


def _line(frame: FrameSummary) -> str:
    source = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{place_of_frame(frame)}: {source}"


def _replica(error: BaseException) -> str:
    return getattr(error, _REPLICA, "")


def _message(error: BaseException) -> str:
    text = str(error)
    for pattern, new in _NOISE:
        text = pattern.sub(new, text)
    lines = [textwrap.shorten(line, _LONGEST_LINE) for line in text.splitlines() if line.strip()]
    name = "" if OF_AUTOGRAPH in str(error) else f"{type(error).__name__}: "  # which names it itself
    return name + "\n  ".join(lines[:_MOST_LINES])


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


def _is_of_step(error: BaseException) -> bool:
    """Return whether the task's step raised it, not what reads the data."""
    return any(frame.filename == _STEP for frame in traceback.extract_tb(error.__traceback__))
