"""Starts TensorFlow quietly, with a time limit, and with memory that it may keep. Does not import TensorFlow itself."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache

from absl import logging


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_HEAP = 64 * 2**20  # the size of a heap of glibc on a thread that is not the main one, in bytes
# The variable of the environment that sets a parameter of glibc's malloc -> its number in <malloc.h>, and our value in bytes.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 2**30),
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # the most that fits
    "MALLOC_TOP_PAD_": (-2, 2 * _HEAP),  # a heap that is never more than this from empty is not unmapped either
    "MALLOC_ARENA_MAX": (-8, available_cores()),  # each holds the most that it ever had; glibc makes 8 for each core
}


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


@cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where malloc is glibc's. What the user's environment sets stays.

    Each step makes and frees the same tensors. glibc gives large ones back to the system at once, which clears their pages
    anew in the next step: 11,000 page faults and a quarter of the CPU time in a step of char_lm.gin under XLA. The process
    holds its peak instead, which it reaches in each step anyway.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for variable, (parameter, value) in _MALLOC.items():
        tunable = f"glibc.malloc.{variable.removeprefix('MALLOC_').removesuffix('_').lower()}="
        if variable in os.environ or tunable in os.environ.get("GLIBC_TUNABLES", ""):
            continue
        if not mallopt(parameter, value):
            mallopt(parameter, min(value, _HEAP // 2))  # the most for blocks of their own before glibc 2.35


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
