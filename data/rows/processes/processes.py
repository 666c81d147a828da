"""Reading and transforming rows in processes of their own, for transforms that hold the GIL."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Pipe
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from ....metrics.errors import DataError, UsageError
from ..transforms import Examples
from . import worker
from .pickling import Pickled

if TYPE_CHECKING:
    from ...elements import Nest

_MARK = "TALLYLOOP_READS_ROWS"  # in the environment of the processes
_POLL_SECONDS = 1.0
_PATIENCE = 1.0  # seconds until a process that should end is killed


class Processes:
    """Reads examples in processes, which start when they are needed and end with this one, however it ends.

    They are new ones, not forks: TensorFlow's threads and locks don't survive a fork.

    Args:
      examples: what reads them; each process has a copy.
      count: `Input.read_processes`.

    Attributes:
      end: ends them permanently; runs at the latest at exit, when TensorFlow's threads may still be reading.

    Raises:
      UsageError: the source or the transform cannot be pickled.
    """

    def __init__(self, examples: Examples, count: int):
        if _MARK in os.environ:
            raise UsageError(
                f"Input.read_processes = {count}: expected a module whose import trains nothing, as the processes import the "
                "modules of the source and the transform, got one that opens an Input itself: put what trains under "
                'if __name__ == "__main__":'
            )
        self._count = count
        given = Pickled(examples, count)
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        processes = [_Process(given, count) for _ in range(count)]
        for each in processes:
            self._idle.put(each)
        self.end: Callable[[], None] = weakref.finalize(self, _end, processes)

    def read(self, epoch: int, rows: np.ndarray) -> Nest:
        """Return the examples of some rows in an epoch, stacked; see `Examples.read`.

        A process that is killed meanwhile is replaced, once.

        Raises:
          DataError: one of them cannot be read or transformed, or the process ends at each attempt.
          UsageError: the process cannot load the source or the transform.
        """
        process = self._idle.get()
        try:
            try:
                return process.read(epoch, rows)
            except _EndedError as ended:
                if process.over:
                    raise
                logging.warning("Input.read_processes = %d: %s. Another one reads them again.", self._count, ended)
            return process.read(epoch, rows)
        except _EndedError as ended:
            if process.over:
                raise DataError(f"Input.read_processes = {self._count}: reading has ended with the program") from None
            raise DataError(
                f"Input.read_processes = {self._count}: {ended}, and so did the one before it: expected processes that stay "
                "alive. Look for the kernel's message (dmesg) if memory ran out, and for these rows if the transform crashes.",
                may_pass=True,
            ) from None
        finally:
            self._idle.put(process)


class _EndedError(Exception):
    """A process has ended; the message says which, and how."""


class _Process:
    """A process, which is started when it is asked for rows.

    Attributes:
      over: whether it must not be started again.
    """

    def __init__(self, given: Pickled, count: int):
        self._given = given
        self._count = count
        self._process: subprocess.Popen[bytes] | None = None
        self._changes = threading.Lock()  # it may be ended by one thread while another one reads or starts it
        self.over: bool = False

    def read(self, epoch: int, rows: np.ndarray) -> Nest:
        """Return examples.

        Raises:
          _EndedError: the process has ended, and another one will be started.
        """
        if self._process is None:
            self._start()
            self._load()
        kind, *answer = self._asked((epoch, rows), f"rows {rows.tolist()[:8]}")
        if kind == "failed":
            raise _error(rows, *answer)
        pickled, spans = answer
        # Copied, because the next answer is written over it.
        return pickle.loads(pickled, buffers=[_copied(view) for view in self._taken.views(spans)])

    def end(self) -> None:
        """End the process; kill it if it takes long."""
        with self._changes:
            if self._process is None:
                return
            self._control.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
            self._process.kill()
            self._process.wait()
            os.close(self._life)
            self._process = None

    def _start(self) -> None:
        with self._changes:
            if self.over:
                raise _EndedError("the processes were ended")
            self._taken = worker.Memory()
            self._control, control = Pipe()
            life, self._life = os.pipe()
            passed = [control.fileno(), life, self._given.memory.descriptor, self._taken.descriptor]
            try:
                with _stops_blocked():
                    self._process = subprocess.Popen(
                        [sys.executable, "-P", worker.__file__, *map(str, passed)],
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, _MARK: "1", "CUDA_VISIBLE_DEVICES": "-1"},
                        pass_fds=passed,
                    )
            finally:
                control.close()
                os.close(life)

    def _load(self) -> None:
        kind, *told = self._asked((sys.path, self._given.bindings, self._given.spans), "nothing yet")
        if kind == "failed":
            self.end()
            name, text, trace = told
            error = UsageError(
                f"Input.read_processes = {self._count}: expected a source and a transform that another process can load, got "
                f"{name} there: {text}. Define them in a module that can be imported, or use Input.read_threads."
            )
            error.add_note(trace)
            raise error

    def _asked(self, request: Any, purpose: str) -> tuple[Any, ...]:
        """Send a request; return the answer."""
        process = self._process
        if process is None:
            raise _EndedError("the processes were ended")
        try:
            self._control.send(request)
            while not self._control.poll(_POLL_SECONDS):
                if process.poll() is not None:  # a process that it has started may hold its end of the connection
                    raise EOFError
            return self._control.recv()
        except (
            EOFError,
            OSError,
            TypeError,
            ValueError,
        ) as error:  # the last two of a connection that is closed meanwhile
            if isinstance(error, TypeError | ValueError) and not self.over:
                raise
            self.end()
            raise _EndedError(f"the process {process.pid}, which read {purpose}, {_how(process.returncode)}") from None


def _copied(view: memoryview) -> np.ndarray:
    return np.array(np.frombuffer(view, np.uint8)) if len(view) else np.empty(0, np.uint8)


def _error(rows: np.ndarray, name: str, text: str, trace: str) -> Exception:
    """Return what was raised in a process, with its traceback there."""
    known = {"DataError": DataError, "UsageError": UsageError}
    error = known[name](text) if name in known else DataError(f"rows {rows.tolist()[:8]} of the source: {name}: {text}")
    error.add_note(f"In a process of Input.read_processes:\n{trace.rstrip()}")
    return error


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _end(processes: list[_Process]) -> None:
    for each in processes:
        each.over = True
    for each in processes:
        each.end()


@contextlib.contextmanager
def _stops_blocked() -> Iterator[None]:
    """Block the signals that ask a run to stop in a process that is started, until it ignores them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, worker.STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
