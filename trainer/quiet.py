"""Keeps TensorFlow's start-up noise off the console."""

from __future__ import annotations

import contextlib
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
