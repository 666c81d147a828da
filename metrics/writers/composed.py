"""Writers made of other writers: several at once, and one in a background thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from .summary import Ending, RunDescription, Summary, SummaryWriter

# Far more than a healthy disk ever leaves waiting. A stuck disk holds training up instead of filling memory.
_QUEUE_SIZE: Final = 64


class MultiWriter:
    """Passes everything on to each of its writers.

    A writer that raises does not keep the summary from the others. The first error is raised after all writers have had
    their turn, with the other errors as notes.

    Args:
      writers: called in this order.
    """

    def __init__(self, writers: Sequence[SummaryWriter]):
        self._writers = tuple(writers)

    def begin(self, run: RunDescription) -> None:
        """Describe the run to every writer that has a `begin`."""
        self._each(lambda writer: _call_if_there(writer, "begin", run))

    def end(self, ending: Ending) -> None:
        """Tell every writer that has an `end` how the run ended."""
        self._each(lambda writer: _call_if_there(writer, "end", ending))

    def write(self, summary: Summary) -> None:
        """Write the summary to every writer."""
        self._each(lambda writer: writer.write(summary))

    def flush(self) -> None:
        """Flush every writer."""
        self._each(lambda writer: writer.flush())

    def close(self) -> None:
        """Close every writer."""
        self._each(lambda writer: writer.close())

    def _each(self, call: Callable[[SummaryWriter], None]) -> None:
        first = None
        for writer in self._writers:
            try:
                call(writer)
            except Exception as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"{type(writer).__name__} failed too: {error!r}")
        if first is not None:
            raise first


def _call_if_there(writer: SummaryWriter, name: str, argument: Any) -> None:
    if (method := getattr(writer, name, None)) is not None:
        method(argument)


class AsyncWriter:
    """Writes to another writer from a thread of its own, in order.

    An error raised there is raised once, by the next `write`, `flush` or `close`. It costs the summary that met it and no
    other: those behind it are still written, and so is the one just passed to `write`.

    Args:
      writer: the writer below; only this object may use it.
    """

    def __init__(self, writer: SummaryWriter):
        self._writer = writer
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(_QUEUE_SIZE)
        # A daemon, so that a program that dies without closing its writer does not hang at exit.
        self._thread = threading.Thread(target=self._work, name="tallyloop-writer", daemon=True)
        self._thread.start()

    def write(self, summary: Summary) -> None:
        """Hand the summary to the thread; wait only if many are waiting already.

        Raises:
          ValueError: the writer is closed.
        """
        self._put(lambda: self._writer.write(summary))

    def begin(self, run: RunDescription) -> None:
        """Describe the run to the writer below, as `write` writes."""
        self._put(lambda: _call_if_there(self._writer, "begin", run))

    def end(self, ending: Ending) -> None:
        """Tell the writer below how the run ended, as `write` writes."""
        self._put(lambda: _call_if_there(self._writer, "end", ending))

    def flush(self) -> None:
        """Wait until everything is written, and flush the writer below."""
        self._queue.join()
        self._run(self._writer.flush)
        self._raise_error()

    def close(self) -> None:
        """Write what is waiting, end the thread and close the writer below. Further calls do nothing."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._run(self._writer.close)
        self._raise_error()

    def _put(self, call: Callable[[], None]) -> None:
        if not self._thread.is_alive():
            raise ValueError("this AsyncWriter is closed")
        self._queue.put(call)
        self._raise_error()

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            self._run(call)
            self._queue.task_done()
        self._queue.task_done()

    def _run(self, call: Callable[[], None]) -> None:
        """Call, and keep the error for `_raise_error`; a later error becomes a note on the first."""
        try:
            call()
        except Exception as error:
            with self._lock:
                if self._error is None:
                    self._error = error
                else:
                    self._error.add_note(f"later: {error!r}")

    def _raise_error(self) -> None:
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error
