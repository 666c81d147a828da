"""Writing off the training thread."""

import queue
import threading
from collections.abc import Callable
from typing import Final

from .summary import Summary, Writer

# Far more than a healthy disk ever leaves waiting; a stuck disk holds training up instead of filling memory.
_QUEUE_SIZE: Final = 64


class AsyncWriter:
    """Writes to `writer` from a thread of its own, in order.

    An error met there is raised by the next `write`, `flush` or `close`, once. It costs the summary that met
    it, no other: those behind it are still written, and the one just passed to `write` is still taken.
    """

    def __init__(self, writer: Writer):
        self._writer = writer
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._queue: queue.Queue[Summary | None] = queue.Queue(_QUEUE_SIZE)
        # A daemon, so that a program that dies without closing its writer does not hang at exit.
        self._thread = threading.Thread(target=self._work, name="tallyloop-writer", daemon=True)
        self._thread.start()

    def write(self, summary: Summary) -> None:
        """Hands the summary to the thread; waits only if many are waiting already."""
        if not self._thread.is_alive():
            raise ValueError("this AsyncWriter is closed")
        self._queue.put(summary)
        self._raise_error()

    def flush(self) -> None:
        """Waits until everything is written, and flushes the writer below."""
        self._queue.join()
        self._run(self._writer.flush)
        self._raise_error()

    def close(self) -> None:
        """Writes what is waiting, ends the thread and closes the writer below; once is enough."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._run(self._writer.close)
        self._raise_error()

    def _work(self) -> None:
        while (summary := self._queue.get()) is not None:
            self._run(self._writer.write, summary)
            self._queue.task_done()
        self._queue.task_done()

    def _run(self, call: Callable[..., None], *arguments: Summary) -> None:
        """Calls, and keeps the error for `_raise_error`; a later one becomes a note on the first."""
        try:
            call(*arguments)
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
