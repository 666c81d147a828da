"""What the program does while it cannot say how far it is: a spinner in the last line of a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from .text import is_terminal, shortened

_FRAMES, _ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_SECONDS_BETWEEN_FRAMES = 0.1
_CLEAR = "\r\x1b[K"
_WIDTH = 78

_silent: list[bool] = []  # not empty in a process that shows nothing
_texts: list[str] = []  # what is being done, the innermost last


def be_silent() -> None:
    """Show no spinner in this process, as on a worker that prints nothing."""
    _silent.append(True)


@contextlib.contextmanager
def doing(text: str, shown: bool = True) -> Iterator[None]:
    """Show a spinner with a text on standard output during the block, if that is a terminal; the line is cleared at the end.

    Inside another block, only the text changes. Lines that are printed meanwhile stay. Nothing is imported for it, and the thread
    that draws it takes no time from the block.

    Args:
      text: what is being done, such as "loading TensorFlow".
      shown: False shows nothing.
    """
    if not shown or _silent or not (_texts or is_terminal(sys.stdout)):
        yield
        return
    _texts.append(text)
    try:
        with contextlib.nullcontext() if len(_texts) > 1 else _spinning(sys.stdout):
            yield
    finally:
        _texts.pop()


@contextlib.contextmanager
def _spinning(stream: TextIO) -> Iterator[None]:
    over = threading.Event()
    out, error = _Clearing(stream), _Clearing(sys.stderr, out_of=stream)
    thread = threading.Thread(target=_spin, args=(stream, (out, error), over), name="spinner", daemon=True)
    thread.start()
    redirects: Any = contextlib.redirect_stderr(error) if sys.stderr.isatty() else contextlib.nullcontext()
    try:
        with contextlib.redirect_stdout(out), redirects, _off_at_breakpoints(over):
            yield
    finally:
        over.set()
        thread.join()
        _write(stream, "" if out.unfinished or error.unfinished else _CLEAR)


@contextlib.contextmanager
def _off_at_breakpoints(over: threading.Event) -> Iterator[None]:
    """Stop the spinner where the user's code calls `breakpoint()`: it would draw over the debugger's prompt."""
    before = sys.breakpointhook

    def hook(*args: Any, **kwargs: Any) -> Any:
        over.set()
        return before(*args, **kwargs)

    sys.breakpointhook = hook
    try:
        yield
    finally:
        sys.breakpointhook = before


def _spin(stream: TextIO, printed: tuple[_Clearing, ...], over: threading.Event) -> None:
    frames = _FRAMES if (stream.encoding or "").lower().startswith("utf") else _ASCII
    i = 0
    while not over.wait(_SECONDS_BETWEEN_FRAMES):
        texts = _texts[-1:]
        if texts and not any(each.unfinished for each in printed):
            # The cursor stays at the begin of the line: what native code prints writes over it.
            _write(stream, f"{_CLEAR}{frames[i % len(frames)]} {shortened(texts[0], _WIDTH - 2)} ...\r")
            i += 1


def _write(stream: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal is closed
        stream.write(text)
        stream.flush()


class _Clearing:
    """A stream that clears the spinner's line before what is printed.

    Args:
      stream: the stream below.
      out_of: the stream that the spinner is on, if it is another one.

    Attributes:
      unfinished: whether the last line that was printed has no end yet.
    """

    def __init__(self, stream: TextIO, out_of: TextIO | None = None):
        self._stream = stream
        self._out_of = out_of
        self.unfinished: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if text and not self.unfinished:
            _write(self._out_of or self._stream, _CLEAR)
        if text:
            self.unfinished = not text.endswith("\n")
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
