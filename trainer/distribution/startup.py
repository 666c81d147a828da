"""Keeps TensorFlow's start-up noise off the console."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what native code prints while it loads, before its log level is in force; logs it if verbose.

    It writes to the file descriptor, not to `sys.stderr`. An exception lets it through: it may tell why.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            text = held.read().decode(errors="replace")
            if failed:
                sys.stderr.write(text)
            elif text:
                logging.debug("TensorFlow's start-up messages:\n%s", text)


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
