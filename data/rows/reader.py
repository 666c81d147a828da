"""Reading ahead of the steps, in threads."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .shares import Share

T = TypeVar("T")
_Calls = queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]


class Reader(Generic[T]):
    """Loads the shares of the steps to come while a step runs.

    Which shares a process needs, it learns from the first step that asks for them.

    Args:
      load: (step, share) -> what a replica gets; called in the threads.
      threads: how many.
      ahead: how many steps are loaded before they are asked for; they are in memory then.
      end: the number of steps, if there is an end.

    Attributes:
      error: the first error that `load` raised, to be told once TensorFlow has passed on its text.
    """

    def __init__(self, load: Callable[[int, Share], T], threads: int, ahead: int, end: int | None = None):
        self._load = load
        self._ahead = ahead
        self._end = end
        self._threads = _Threads(threads)
        self._lock = threading.Lock()
        self._loading: dict[tuple[int, Share], Future[T]] = {}
        self._shares: set[Share] = set()
        self.error: Exception | None = None

    def wait(self, step: int) -> None:
        """Wait until the shares of a step are loaded, and start on those after it."""
        with self._lock:
            needed = [self._start(step, share) for share in self._shares]
            if self._is_short(step):
                for later in range(step + 1, self._last(step + self._ahead) + 1):
                    for share in self._shares:
                        self._start(later, share)
        for each in needed:
            each.exception()

    def take(self, step: int, share: Share) -> T:
        """Return a share of a step; each is taken once.

        Raises:
          Exception: what `load` raised.
        """
        with self._lock:
            self._shares.add(share)
            loading = self._start(step, share)
            del self._loading[step, share]
        try:
            return loading.result()
        except Exception as error:
            self.error = self.error or error
            raise

    def forget(self) -> None:
        """Drop what was loaded ahead: the steps continue elsewhere."""
        with self._lock:
            for each in self._loading.values():
                each.cancel()
            self._loading.clear()
            self.error = None

    def _is_short(self, step: int) -> bool:
        """Whether less than half of what may be loaded ahead is: waking a thread for each step costs more than a short load."""
        half = self._last(step + (self._ahead + 1) // 2)
        return any((half, share) not in self._loading for share in self._shares)

    def _last(self, step: int) -> int:
        return step if self._end is None else min(step, self._end - 1)

    def _start(self, step: int, share: Share) -> Future[T]:
        key = step, share
        if key not in self._loading:
            self._loading[key] = self._threads.submit(self._load, step, share)
        return self._loading[key]


class _Threads:
    """Threads that make calls. When the interpreter exits, they end after the calls that they are making.

    Those of a `ThreadPoolExecutor` would make all calls that wait first: many batches, for which a run that was asked to stop may
    have no time.
    """

    def __init__(self, count: int):
        self._calls: _Calls = queue.SimpleQueue()
        self._threads = [threading.Thread(target=_work, args=[self._calls], daemon=True) for _ in range(count)]
        for each in self._threads:
            each.start()
        _RUNNING.add(self)
        weakref.finalize(self, _stop, self._calls, count)

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((future, call, arguments))
        return future

    def end(self) -> None:
        _stop(self._calls, len(self._threads))
        for each in self._threads:
            each.join()


_RUNNING: weakref.WeakSet[_Threads] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for each in list(_RUNNING):
        each.end()


def _stop(calls: _Calls, count: int) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            call = calls.get_nowait()
            if call is not None:
                call[0].cancel()
    for _ in range(count):
        calls.put(None)


def _work(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        _make(*call)
        del call  # which refers to who asked for it


def _make(future: Future[T], call: Callable[..., T], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*arguments))
    except BaseException as error:
        future.set_exception(error)
