"""What a process that reads rows runs: a script without TensorFlow, and without any package before it is needed.

It ends with the process that started it, which decides when: it ignores the signals that ask a run to stop.
"""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
import pickle
import select
import signal
import sys
import tempfile
import traceback
import weakref
from collections.abc import Iterable, Sequence
from multiprocessing.connection import Connection
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ALIGNMENT = 64

Span = tuple[int, int]  # where a buffer starts and ends


class Memory:
    """Memory that processes share by a file descriptor. It has no name, so nothing is left of it when they end.

    Args:
      descriptor: of a file of this kind; by default a new one.
    """

    def __init__(self, descriptor: int | None = None):
        self.descriptor: int = _unnamed() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None
        weakref.finalize(self, _close, self.descriptor).atexit = False  # the system closes it then

    def put(self, buffers: Iterable[pickle.PickleBuffer]) -> list[Span]:
        """Write buffers, over the ones before; return their places."""
        raw = [each.raw() for each in buffers]
        spans, end = [], 0
        for each in raw:
            spans.append((end, end + each.nbytes))
            end += -(-each.nbytes // _ALIGNMENT) * _ALIGNMENT
        if end > os.fstat(self.descriptor).st_size:
            os.ftruncate(self.descriptor, end)
        for view, each in zip(self.views(spans), raw, strict=True):
            view[:] = each
        return spans

    def views(self, spans: Sequence[Span], access: int = mmap.ACCESS_WRITE) -> list[memoryview]:
        """Return what is at some places."""
        size = os.fstat(self.descriptor).st_size
        if size == 0:
            return [memoryview(bytearray()) for _ in spans]
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.descriptor, size, access=access)
        whole = memoryview(self._map)
        return [whole[start:end] for start, end in spans]


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _unnamed() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tallyloop")
    with tempfile.TemporaryFile() as file:  # where there is no memory of this kind: a file that has been deleted
        return os.dup(file.fileno())


def main(control: Connection, life: int, given: Memory, taken: Memory) -> None:
    """Load what reads the rows, and answer the requests for them until there are no more.

    Args:
      control: the requests and answers.
      life: a pipe whose other end is closed when the process that started this one ends.
      given: has the pickled object that reads.
      taken: for the arrays of the answers.
    """
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # they were blocked until they could be ignored
    _end_with(life)
    try:
        sys.path[:], bindings, spans = control.recv()
        _load_late("tallyloop.data")
        *buffers, pickled = given.views(spans, mmap.ACCESS_COPY)
        examples = pickle.loads(pickled, buffers=buffers)
        _bind(bindings)
    except Exception as error:
        control.send(_as_answer(error))
        return
    control.send(("loaded",))
    with contextlib.suppress(EOFError, ConnectionError):  # the run has ended, maybe before it took an answer
        while True:
            epoch, rows = control.recv()
            control.send(_answer(examples, epoch, rows, taken))


def _answer(examples: Any, epoch: int, rows: Any, taken: Memory) -> tuple[Any, ...]:
    try:
        buffers: list[pickle.PickleBuffer] = []
        pickled = pickle.dumps(examples.read(epoch, rows), 5, buffer_callback=buffers.append)
        return "read", pickled, taken.put(buffers)
    except Exception as error:
        return _as_answer(error)


def _as_answer(error: Exception) -> tuple[str, str, str, str]:
    text = "".join(traceback.format_exception(error.__cause__ or error))
    return "failed", type(error).__name__, str(error), text


def _end_with(life: int) -> None:
    """Have the kernel kill this process when the other end of a pipe is closed, whatever this process does then.

    (The signal on the death of a parent, PR_SET_PDEATHSIG, comes when the thread that started the process ends.) Only Linux has
    it; elsewhere, the end of `control` ends the process, once it has answered.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([life], [], [], 0)[0]:  # it was closed before the kernel was asked
            os._exit(0)


def _load_late(name: str) -> None:
    """Import a package without running its `__init__`, until a name of it is asked for that is no module."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    loader, package = spec.loader, importlib.util.module_from_spec(spec)

    def load(attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        vars(package).pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, attribute)

    vars(package)["__getattr__"] = load
    sys.modules[name] = package


def _bind(bindings: str) -> None:
    """Repeat gin's bindings of what has been imported here; one to what has not is an error for who needs it."""
    if bindings:
        import gin

        gin.parse_config(bindings, skip_unknown=True)


if __name__ == "__main__":
    _control, _life, _given, _taken = map(int, sys.argv[1:])
    main(Connection(_control), _life, Memory(_given), Memory(_taken))
