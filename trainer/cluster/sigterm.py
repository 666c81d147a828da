"""Keeps SIGTERM as it was: TensorFlow takes it over when a worker joins its cluster, and then does nothing on it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Gives SIGTERM its handler back at the end, which ends the process by default.

    TensorFlow's coordination service installs one in C++ that only tells a notifier that nobody listens to here (2.21): a
    worker could then be ended by SIGKILL alone. Python knows nothing of it, so setting its own again is enough. Only the
    main thread may; in another one SIGTERM stays TensorFlow's.
    """
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGTERM, handler)
