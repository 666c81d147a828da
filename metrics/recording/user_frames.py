"""The lines of the user's code in the traceback of an error."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from traceback import FrameSummary
from typing import Any

_PACKAGE = Path(__file__).parents[2]
_PATHS = sysconfig.get_paths()
_CORE = tuple(str(_PACKAGE / room) for room in ("trainer", "metrics", "data"))
OF_AUTOGRAPH = "in user code:"
_BUNDLED = str(_PACKAGE / "models")
_NOT_USERS = (
    *_CORE,
    *(_PATHS[key] for key in ("purelib", "platlib", "stdlib")),
    "<",  # code that was never in a file
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
    candidates = [frame for frame in known if not frame.filename.startswith(_NOT_USERS)]
    called = [frame for frame in candidates if calls and known.index(frame) > calls[0]]
    users = [[frame for frame in each if not is_ours(frame.filename)] for each in (called, candidates)]
    return (users[0] or users[1] or candidates)[::-1]


def place_of_frame(frame: FrameSummary) -> str:
    """Return `file:line, in name`."""
    return f"{frame.filename}:{frame.lineno}, in {frame.name}"


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
