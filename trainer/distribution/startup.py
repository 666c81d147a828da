"""Starts TensorFlow quietly, and with a time limit. Does not import TensorFlow itself."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what native code prints while it loads, before its log level takes effect; logs it if verbose.

    Native code writes to the file descriptor, not to `sys.stderr`. On an exception the text is shown: it may say why.
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
def no_garbage_collections() -> Iterator[None]:
    """Import without garbage collections, and leave what was imported out of those that follow.

    Imports make hundreds of thousands of objects that stay. Each of Python's collections looks at all of them, which takes a
    fifth of the time to the first step.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def ends_process_after(seconds: float) -> Iterator[None]:
    """End the process with exit code 1 and a traceback, "Timeout (0:10:00)!", if the block takes longer.

    TensorFlow waits forever for a worker that is lost while it starts. Its start cannot be interrupted, and holds Python's
    lock while it waits, so that neither a signal handler nor a Python thread gets to run. `faulthandler`'s thread needs no
    lock.
    """
    stderr = os.dup(2)  # the block may hold back the console's
    try:
        faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        os.close(stderr)
