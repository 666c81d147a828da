"""Errors of the user's code, told by the line that caused them."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import inspect
import re
import textwrap
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from traceback import FrameSummary
from types import CodeType
from typing import Any

import tensorflow as tf

from ..data.messages.user_frames import (
    frames_in,
    hints_of,
    is_ours,
    lines_of,
    message_of,
    of_user,
    place_of_frame,
    user_frames,
)
from ..metrics.errors import DataError, UsageError
from .task import Task, has_several_losses

_DATA = str(Path(__file__).parents[1] / "data")
_STEP = str(Path(__file__).parent / "step" / "replica.py")  # calls the task
_REPLICA = "tallyloop_replica"  # the attribute of an error
_tracing: list[Place] = []  # what is being traced, innermost last
_graphs: weakref.WeakKeyDictionary[tf.Graph, Place | None] = (
    weakref.WeakKeyDictionary()
)  # that the task was traced in -> their place
_LONGEST_LINE = 300
# What TensorFlow's message about a failed operation has besides the reason.
_OF_THE_STACK = re.compile(r"Graph execution error|Detected at node|<stack traces|Traceback|Original stack|Node: |\s")
# What Keras puts around the message of an error that a layer raises.
_CALLING = re.compile(
    r"Exception encountered when calling .*\n+\x1b\[1m([\s\S]*)\x1b\[0m\n+Arguments received by [\s\S]*"
)
_NO_FIT = "The data does not fit the model: change the model, or the dataset's Input.source or Input.map_fn."


@dataclasses.dataclass(frozen=True)
class Place:
    """The place where the user's code was running.

    Attributes:
      split: "train", "eval/NAME" or "predict"; empty before there is one.
      dataset: the binding of the batches.
      when: such as "step 11".
      feed: the identity of what gives the batches, which tells the loops of several Trainers apart; None if it is not known.
    """

    split: str
    dataset: str
    when: str = "before the first step"
    feed: int | None = dataclasses.field(default=None, compare=False)

    def may_be(self, other: Place | None) -> bool:
        """Return whether this is in the same loop as another place, as far as is known."""
        if other is None:
            return True
        feeds = {self.feed, other.feed} - {None}
        return self.split == other.split and len(feeds) < 2

    def told(self, replica: str = "") -> str:
        """Return the place in words, such as "split train, step 11, replica 1 of 2"."""
        return ", ".join(filter(None, (self.split and f"split {self.split}", self.when, replica)))

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
    _tracing.append(place)
    try:
        yield
    except UsageError as error:
        of_keras = _CALLING.fullmatch(str(error))
        told = UsageError(of_keras[1]) if of_keras else error
        if user_frames(error) and not _is_of_data(error):
            told.add_note(f"({place.told(_replica(error))}, while the task was traced on a batch of {place.dataset})")
        if told is error:
            raise
        raise told from error
    except Exception as error:
        frames = user_frames(error)
        about_files = isinstance(error, DataError | OSError | tf.errors.OpError)
        if (not frames and not _is_no_fit(error)) or (about_files and not _is_of_step(error)):
            raise
        raise UsageError(_report_of(error, frames, place, batch())) from error
    finally:
        _tracing.pop()


@contextlib.contextmanager
def built_on(batch: Any) -> Iterator[None]:
    """Tell an error of the task, which is called to build its model, by the user's line, unless `traced_on` does.

    Args:
      batch: a nest of `tf.TensorSpec`, of the first dataset.

    Raises:
      UsageError: see `traced_on`.
    """
    place = Place("", "the first dataset of the Trainer", "while the model is built")
    with contextlib.nullcontext() if _tracing else traced_on(place, lambda: batch):
        yield


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

    Args:
      method: of the task.
      arguments: what it is called with, unless it is the task's own and calls `loss` or `losses`.

    Raises:
      UsageError: it does not.
    """
    try:
        yield
    except TypeError as error:
        if user_frames(error):  # so it took them
            raise
        wanted = "(model, batch, training)" if _calls_loss(method) else arguments
        raise UsageError(f"{place_of(method)}: {error}: expected the parameters {wanted}.") from error


def raised(error: BaseException) -> str | None:
    """Return an error of the user's code by the line that raised it; None if no line of the user's was running."""
    frames = user_frames(error)
    return "\n".join(lines_of(frames, message_of(error))) if frames else None


def raised_in_a_step(error: tf.errors.OpError, place: Place | None = None, batch: Any = None) -> str | None:
    """Return an error of an operation by the user's line that made the operation, as TensorFlow's message tells it.

    None if the operation is neither of the user's code nor of a bundled task's, such as one on a label out of range.

    Args:
      error: what running the step raised.
      place: the split, and the steps that were running.
      batch: a nest of `tf.TensorSpec`, the batch.
    """
    node = re.search(r"Detected at node (\S+)", str(error))
    told = _frames_of(str(error)) or (_frames_of_node(node[1], place) if node else [])
    frames = of_user(told)
    if not frames:
        return None
    lines = lines_of(frames, f"{type(error).__name__}: {_reason(str(error))}")
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
    found = _operations(node, place)
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


def _operations(node: str, place: Place | None) -> list[tf.Operation]:
    """Return the operations of that name: those of the place's own loop or, if there are none, of any that may be it."""
    gc.collect()  # or graphs that nobody has any more would count
    named = [
        (traced, operation)
        for graph, traced in _graphs.items()
        if place is None or place.may_be(traced)
        for operation in graph.get_operations()
        if f"/{node}".endswith(f"/{operation.name}")
    ]
    own = [operation for traced, operation in named if place and traced and place.feed and traced.feed == place.feed]
    return own or [operation for _, operation in named]


def _reason(text: str) -> str:
    """Return why an operation failed; of several errors, the first one's."""
    first = re.search(r"^\s*\(0\) [A-Z_]+:\s*(.+)$", text, re.M)
    told = [line for line in text.splitlines() if line.strip() and not _OF_THE_STACK.match(line)]
    return textwrap.shorten(first[1] if first else (told or [""])[0], _LONGEST_LINE)


def place_of(method: Any) -> str:
    """Return `file:line, in name` of a task's method; of `loss` or `losses`, where the task's own steps only call it."""
    task, code = getattr(method, "__self__", None), _code_of(method)
    if _calls_loss(method):
        several = isinstance(task, Task) and has_several_losses(task)
        code = _code_of(getattr(task, "losses" if several else "loss", method))
    return repr(method) if code is None else f"{code.co_filename}:{code.co_firstlineno}, in {code.co_name}"


def _calls_loss(method: Any) -> bool:
    code = _code_of(method)
    return code is not None and is_ours(code.co_filename)


def _code_of(method: Any) -> CodeType | None:
    return getattr(inspect.unwrap(method), "__code__", None)


def _report_of(error: Exception, frames: Sequence[FrameSummary], place: Place, batch: Any) -> str:
    told = message_of(error)
    lines = (
        lines_of(frames, told) if frames else [f"{place.dataset}: the model does not take its batches.", f"  {told}"]
    )
    hints = [_NO_FIT] if _is_no_fit(error) else hints_of(error, "a step")
    lines += [f"  {hint}" for hint in hints]
    lines += place.lines(batch, _replica(error))
    if _looks_batched(batch):
        lines.append(
            "  Each example has a leading axis, in every component: if the source is batched already, unbatch() it."
        )
    return "\n".join(lines)


def _is_no_fit(error: BaseException) -> bool:
    """Return whether Keras has refused the shape of a layer's input."""
    return re.search("is incompatible with the layer|Invalid input shape for input", str(error)) is not None


def _replica(error: BaseException) -> str:
    return getattr(error, _REPLICA, "")


def _described(batch: Any) -> str:
    if isinstance(batch, Mapping):
        return ", ".join(f"{key!r} {_described(each)}" for key, each in batch.items())
    if isinstance(batch, tf.TensorSpec):
        return f"{batch.dtype.name}({', '.join('batch' if i == 0 else str(n) for i, n in enumerate(batch.shape))})"
    return f"({', '.join(map(_described, batch))})" if isinstance(batch, tuple | list) else repr(batch)


def _looks_batched(batch: Any) -> bool:
    """Return whether all of several components have a second axis of one size, or of none that is known."""
    shapes = [spec.shape for spec in tf.nest.flatten(batch)]
    if len(shapes) < 2:  # which cannot tell
        return False
    return all(shape.rank is not None and shape.rank >= 2 for shape in shapes) and len({s[1] for s in shapes}) == 1


def _is_of_data(error: BaseException) -> bool:
    """Return whether `tallyloop.data` raised it: it is about a file or an example, whatever function of the user's was mapped."""
    return traceback.extract_tb(error.__traceback__)[-1].filename.startswith(_DATA)


def _is_of_step(error: BaseException) -> bool:
    """Return whether the task's step raised it, not what reads the data."""
    return any(frame.filename == _STEP for frame in traceback.extract_tb(error.__traceback__))
