"""Writers that the run doesn't depend on: each in a thread of its own, whose failures and delays are only reported."""

from __future__ import annotations

import queue
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from absl import logging

from ..summary import Ending, RunDescription, Summary

_MOST_WAITING: Final = 1000  # summaries: an hour at one every few seconds, a few MB
_LONGEST: Final = 300  # characters of an error
_PATIENCE: Final = 60.0  # seconds: importing a large library alone may take ten
_PATIENCE_WHEN_ASKED: Final = 5.0  # to stop: schedulers often kill 30 seconds later


class Writer(Protocol):
    """The type of `Trainer.writers`: an object with `write`.

    It may have more methods: `begin(run: RunDescription)`, called first, at each start of the run; `end(ending: Ending)`, called
    last, unless the run is killed; and `close()`, after that. All are called in one thread, in order. What they raise is reported
    once, and costs the run nothing.
    """

    def write(self, summary: Summary) -> None:
        """Write one summary."""
        ...


class OutsideWriters:
    """Passes a run on to each of the user's writers."""

    def __init__(self, writers: Sequence[Writer]):
        self._threads = [_Isolated(writer) for writer in writers]

    def begin(self, run: RunDescription) -> None:
        """Start the threads, and describe the run to the writers. Returns at once."""
        for thread in self._threads:
            thread.start()
            thread.put("begin", run)

    def write(self, summary: Summary) -> None:
        """Pass a summary on. Returns at once."""
        for thread in self._threads:
            thread.put("write", summary)

    def end(self, ending: Ending) -> None:
        """Tell the writers how the run ended, and wait until they are done, or for as long as there is patience."""
        for thread in self._threads:
            thread.put_last(("end", ending), ("close",))
        asked = ending.state == "interrupted"
        patience = _PATIENCE_WHEN_ASKED if asked else _PATIENCE
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(deadline, patience)


class _Isolated:
    """A writer, and the thread that calls it. After an error of `begin` it isn't called again."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._name = type(writer).__name__
        self._waiting: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._reported = False
        self._lock = threading.Lock()
        # A daemon, so that a writer that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=f"tallyloop-{self._name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, *call: Any) -> None:
        """Let the thread call a method, (name, argument), if the writer has it; drop the call if too many are waiting."""
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(call)
        else:
            self._report(f"is behind by {_MOST_WAITING:,} summaries, and further ones are dropped")

    def put_last(self, *calls: tuple[Any, ...]) -> None:
        """Let the thread make these calls, and end."""
        for call in (*calls, None):
            self._waiting.put(call)

    def join(self, deadline: float, patience: float) -> None:
        """Wait until the thread has done everything, up to a time of `time.monotonic`."""
        if self._thread.ident is None:  # the run has ended before it began
            return
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._report(f"does not return: its last summaries may be lost, after {patience:g} s of waiting for it")

    def _work(self) -> None:
        while (call := self._waiting.get()) is not None:
            name, *arguments = call
            if not self._call(getattr(self._writer, name, None), *arguments) and name == "begin":
                return

    def _call(self, method: Callable[..., Any] | None, *arguments: Any) -> bool:
        """Return whether the method did not fail; one that isn't there does not."""
        try:
            if method is not None:
                method(*arguments)
        except (Exception, SystemExit) as error:
            self._report(f"has failed: {type(error).__name__}: {textwrap.shorten(str(error), _LONGEST)}")
            return False
        return True

    def _report(self, problem: str) -> None:
        """Log the first problem of the writer."""
        with self._lock:
            known, self._reported = self._reported, True
        if not known:
            logging.warning(
                "Trainer.writers: %s %s. The run goes on; this writer is not reported again.", self._name, problem
            )
