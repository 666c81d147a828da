"""Requests to stop: SIGTERM, when a machine is taken away, or Ctrl-C.

Python runs signal handlers only in the main thread and between two bytecodes: not before an inner loop, one long call into
TensorFlow, is over, and then once for several signals of a kind. A thread therefore reads each signal as it arrives.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_END = b"\0"  # to the thread; no signal has this number
# How long a second Ctrl-C lets Python close its files and record the end before it ends the process anyway.
_LAST_SECONDS = 1.0

_handled: list[int] = []  # the signals seen by Python's handlers
_seen: list[int] = []  # the same, seen by the thread, which misses none
_before: dict[int, Any] = {}  # the handlers outside the context


def requested() -> bool:
    """Return whether this process was asked to stop."""
    return bool(_handled or _seen)


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Turn SIGTERM and the first SIGINT (Ctrl-C) into a request to stop, reported at once. For the main thread.

    A second SIGINT raises KeyboardInterrupt, and ends the process with exit code 1 unless this context is left soon.
    """
    with _watched():
        _before.update({number: signal.signal(number, _take) for number in _SIGNALS})
        try:
            yield
        finally:
            for number, handler in _before.items():
                signal.signal(number, handler)
            _before.clear()
    _handled.clear()
    _seen.clear()


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # `set_wakeup_fd` requires it
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(reader, over), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        os.write(writer, _END)  # closing it isn't enough: a forked child may have it open
        thread.join()
        os.close(reader)
        os.close(writer)


def _watch(reader: int, over: threading.Event) -> None:
    while (byte := os.read(reader, 1)) != _END:
        number = byte[0]
        if number in _SIGNALS:
            _seen.append(number)
            if len(_seen) == 1:
                name = signal.Signals(number).name
                _say(f"{name}: saving after this inner loop. Press Ctrl-C again to stop at once.")
            if number == signal.SIGINT and _stops_at_once() and not over.wait(_LAST_SECONDS):
                _say("Stopped. The same command continues from the last checkpoint.")
                os._exit(1)  # checkpoints are complete or absent: there is nothing to lose


def _take(number: int, frame: types.FrameType | None) -> None:
    _handled.append(number)
    if number == signal.SIGINT and _stops_at_once():
        raise KeyboardInterrupt


def _stops_at_once() -> bool:
    return max(_handled.count(signal.SIGINT), _seen.count(signal.SIGINT)) > 1


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads stderr
        print(text, file=sys.stderr, flush=True)


def _leave_to_parent() -> None:
    """In a forked child, let SIGTERM do what it does outside the context, and keep its signals from its parent.

    Ctrl-C reaches all processes of a terminal at once. The first one leaves a child alone, as the run is saving then.
    """
    if _before:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, _before[signal.SIGTERM])


os.register_at_fork(after_in_child=_leave_to_parent)


@contextlib.contextmanager
def sigterm_kept() -> Iterator[None]:
    """Give SIGTERM its handler back at the end; the default one ends the process.

    When a worker joins its cluster, TensorFlow's coordination service installs a C++ handler that only notifies a listener
    which does not exist here (2.21): only SIGKILL could then end a worker. Python does not know of it, so setting Python's
    handler again is enough. Only the main thread may; in another thread SIGTERM stays TensorFlow's.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)
