"""Requests to stop: SIGTERM, when a machine is taken away, Ctrl-C, or SIGHUP, when the terminal is closed.

Python runs signal handlers only in the main thread and between two bytecodes: not before an inner loop, one long call into
TensorFlow, is over, and then once for several signals of a kind. A thread therefore reads each signal as it arrives.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, TextIO

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_END = b"\0"  # to the thread; no signal has this number
# How long a second Ctrl-C lets Python close its files and record the end before it ends the process anyway.
_LAST_SECONDS = 1.0

_handled: list[int] = []  # the signals seen by Python's handlers
_seen: list[int] = []  # the same, seen by the thread, which misses none
_terminals: list[int] = []  # the descriptors of this process's output that were terminals at the start
_before: dict[int, Any] = {}  # the handlers outside the context, of the signals that are handled inside


def requested() -> bool:
    """Return whether this process was asked to stop."""
    return bool(_handled or _seen)


@contextlib.contextmanager
def on_signals() -> Iterator[None]:
    """Turn SIGTERM, SIGHUP and the first SIGINT (Ctrl-C) into a request to stop, reported at once. For the main thread.

    A second SIGINT raises KeyboardInterrupt, and ends the process with exit code 1 unless this context is left soon. A signal
    that is ignored stays ignored.
    """
    with _watched(), output_without_terminal():
        _before.update({number: signal.signal(number, _take) for number in not_ignored()})
        try:
            yield
        finally:
            for number, handler in _before.items():
                signal.signal(number, handler)
            _before.clear()
    _handled.clear()
    _seen.clear()


def not_ignored() -> list[signal.Signals]:
    """Return the signals that ask a run to stop, without those that whoever started the process has had it ignore.

    `nohup` ignores SIGHUP; a shell without job control, and so a script, a CI system or cron, ignores SIGINT for `command &`.
    """
    return [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def output_without_terminal() -> Iterator[None]:
    """Let printing to a closed terminal be no error, inside the context, whether SIGHUP comes before, after or never."""
    _terminals[:] = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
    with contextlib.ExitStack() as stack:
        if 1 in _terminals and sys.stdout is sys.__stdout__:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(_unfailing(sys.stdout))))
        if 2 in _terminals and sys.stderr is sys.__stderr__:
            stack.enter_context(contextlib.redirect_stderr(stack.enter_context(_unfailing(sys.stderr))))
        try:
            yield
        finally:
            drop_lost_terminals()
            _terminals.clear()


@contextlib.contextmanager
def _unfailing(stream: TextIO) -> Iterator[TextIO]:
    stream.flush()
    raw = io.BufferedWriter(_Terminal(stream.fileno(), "w", closefd=False))
    with io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True) as unfailing:
        yield unfailing


class _Terminal(io.FileIO):
    """A terminal that may be closed. The kernel closes it first and sends SIGHUP then: a print between them would fail."""

    def write(self, data: Any) -> int:  # as in the base class
        try:
            return super().write(data)
        except OSError:
            if os.isatty(self.fileno()):
                raise
            drop_lost_terminals()
            return super().write(data)


def drop_lost_terminals() -> None:
    """Send what is printed to a terminal that is closed to nowhere: printing must not fail while the run saves."""
    for descriptor in _terminals:
        if not os.isatty(descriptor):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            os.close(null)


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
            if number == signal.SIGHUP:
                drop_lost_terminals()
            if len(_seen) == 1:
                again = " Press Ctrl-C again to stop at once." if signal.SIGINT in _before else ""
                _say(f"{signal.Signals(number).name}: saving after this inner loop.{again}")
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

    Ctrl-C and SIGHUP reach all processes of a terminal at once. The first one leaves a child alone, as the run is saving then.
    """
    if _before:
        signal.set_wakeup_fd(-1)
    if signal.SIGTERM in _before:
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
