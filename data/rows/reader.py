"""Reading ahead of the steps, in threads."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from .shares import Share

T = TypeVar("T")


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
        self._pool = ThreadPoolExecutor(threads, "tallyloop-reader")
        self._lock = threading.Lock()
        self._loading: dict[tuple[int, Share], Future[T]] = {}
        self._shares: set[Share] = set()
        self.error: Exception | None = None
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def wait(self, step: int) -> None:
        """Wait until the shares of a step are loaded, and start on those after it."""
        with self._lock:
            needed = [self._start(step, share) for share in self._shares]
            last = step + self._ahead if self._end is None else min(step + self._ahead, self._end - 1)
            for later in range(step + 1, last + 1):
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

    def _start(self, step: int, share: Share) -> Future[T]:
        key = step, share
        if key not in self._loading:
            self._loading[key] = self._pool.submit(self._load, step, share)
        return self._loading[key]
