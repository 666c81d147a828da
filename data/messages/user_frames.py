"""The lines of the user's code in the traceback of an error."""

from __future__ import annotations

import linecache
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from traceback import FrameSummary
from typing import Any

_PACKAGE = Path(__file__).parents[2]
_PATHS = sysconfig.get_paths()
_CORE = tuple(str(_PACKAGE / room) for room in ("trainer", "metrics", "data"))
OF_AUTOGRAPH = "in user code:"
_REWRITTEN = "__autograph_generated_file"  # in the temporary folder
_BUNDLED = str(_PACKAGE / "models")
_NOT_USERS = (
    *_CORE,
    *(_PATHS[key] for key in ("purelib", "platlib", "stdlib")),
    "<",  # code that was never in a file
)
_LONGEST_LINE = 300
_MOST_LINES = 5  # of a message: what follows in those of Keras are its arguments once more
_MOST_CALLERS = 5
_NOISE = [(re.compile(pattern, re.M), new) for pattern, new in (
    (r"\x1b\[[0-9;]*m", ""),  # colors
    (r"'\{\{node \S+\}\} = (\w+)\[.*?\]\(.*?\)'", r"\1"),  # the node that could not be made
    (r"Arguments received by [\s\S]*", ""),
    (r"^ *in user code:$|^ *File \".*\n.*$", ""),  # the frames that AutoGraph lists
)]  # fmt: skip
# What Python and TensorFlow say of a symbolic tensor that is used as a value, and what to use instead.
_NO_VALUES = (
    ("numpy array|NumPy call|__array__", "tf or keras.ops instead of NumPy"),
    ("as a Python `bool`", "tf.where or tf.cond instead of Python's if, while, and, or"),
    ("as a Python `int`|interpreted as an integer", "tf.shape(x)[0] for the size of the batch"),
    (
        r"(float|int)\(\) argument .*SymbolicTensor|SymbolicTensor' .* '(numpy|item|tolist)'|SymbolicTensor\.__format__",
        "them without .numpy(), .item(), float() or int(). tf.print shows values, and metrics.add records them in a step",
    ),
)


def is_ours(filename: str) -> bool:
    """Return whether a file is of this package, the bundled tasks included."""
    return filename.startswith((*_CORE, _BUNDLED))


def user_frames(error: BaseException) -> list[FrameSummary]:
    """Return the frames of the user's code that the error passed, innermost first."""
    found = of_user(traceback.extract_tb(error.__traceback__))
    # AutoGraph, which a map function runs under, raises another error of the type, and tells the frames in its message.
    told = frames_in(str(error)) if OF_AUTOGRAPH in str(error) else []
    return of_user(told) or found


def frames_in(text: str) -> list[FrameSummary]:
    """Return the frames that a message of TensorFlow lists, outermost first."""
    found = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text)
    return [FrameSummary(file, int(line), name) for file, line, name in found]


def of_user(frames: Iterable[FrameSummary]) -> list[FrameSummary]:
    """Return those of the user among the frames of a traceback, innermost first.

    They are those that this package called, not the script that called it, if there are any; else the script's; else those of a
    bundled task.
    """
    known = list(frames)
    calls = [place for place, frame in enumerate(known) if frame.filename.startswith(_CORE)]
    candidates = [
        frame for frame in known if not frame.filename.startswith(_NOT_USERS) and _REWRITTEN not in frame.filename
    ]
    called = [frame for frame in candidates if calls and known.index(frame) > calls[0]]
    users = [[frame for frame in each if not is_ours(frame.filename)] for each in (called, candidates)]
    return (users[0] or users[1] or candidates)[::-1]


def place_of_frame(frame: FrameSummary) -> str:
    """Return `file:line, in name`."""
    return f"{frame.filename}:{frame.lineno}, in {frame.name}"


def lines_of(frames: Sequence[FrameSummary], message: str) -> list[str]:
    """Return the user's line that failed, why, and the lines of the user's that led there."""
    innermost, *callers = frames
    shown = [f"  called by {_line(frame)}" for frame in callers[:_MOST_CALLERS]]
    return [_line(innermost), f"  {message}", *shown]


def _line(frame: FrameSummary) -> str:
    source = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{place_of_frame(frame)}: {source}"


def message_of(error: BaseException) -> str:
    """Return an error's class and its message, without the frames and arguments that TensorFlow and Keras add."""
    text = str(error)
    for pattern, new in _NOISE:
        text = pattern.sub(new, text)
    lines = [textwrap.shorten(line, _LONGEST_LINE) for line in text.splitlines() if line.strip()]
    name = "" if OF_AUTOGRAPH in str(error) else f"{type(error).__name__}: "  # which names it itself
    return name + "\n  ".join(lines[:_MOST_LINES])


def hints_of(error: BaseException, traced: str) -> list[str]:
    """Return what to write instead, if the error is about the value of a tensor while `traced`, such as "a step", is traced."""
    fixes = [fix for pattern, fix in _NO_VALUES if re.search(pattern, str(error))]
    return [f"While {traced} is traced, its tensors have no values: use {fix}." for fix in fixes]


def at_line(error: BaseException) -> str:
    """Return ` (at FILE:LINE, in NAME)`, the innermost line of the user's, for the end of a message; or nothing."""
    frames = [frame for frame in user_frames(error) if not is_ours(frame.filename)]
    return f" (at {place_of_frame(frames[0])})" if frames else ""


def at_line_of(call: Callable[[], Any], error: BaseException) -> str:
    """Return `at_line` of an error of the same kind that Python raises for a call, where a graph's tells no line."""
    try:
        call()
    except type(error) as again:
        return at_line(again)
    except Exception:  # of running without a graph
        return ""
    return ""
