"""A bound on TensorFlow's start, which waits without end for a worker that is lost at that very moment."""

from __future__ import annotations

import contextlib
import faulthandler
import os
from collections.abc import Iterator


@contextlib.contextmanager
def ends_process_after(seconds: float) -> Iterator[None]:
    """Ends the process with exit code 1 if what is inside takes longer; it then tells where, "Timeout (0:10:00)!".

    TensorFlow's start cannot be interrupted, and holds Python's lock while it waits, so that neither a signal handler nor
    a thread of Python's gets to run. The thread of `faulthandler` needs no lock.
    """
    stderr = os.dup(2)  # what is inside may hold the console's back
    try:
        faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.close(stderr)
