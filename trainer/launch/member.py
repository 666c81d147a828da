"""What a process knows of the launcher that started it: `--workers` starts the same command once for each worker."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys

_LAUNCHER, _INDEX = "TALLYLOOP_LAUNCHER", "TALLYLOOP_WORKER"
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


def variables(launcher: int, index: int) -> dict[str, str]:
    """Returns the environment variables that make a process the member of a group."""
    return {_LAUNCHER: str(launcher), _INDEX: str(index)}


def is_member() -> bool:
    """Tells whether a launcher started this process. A command that a worker starts in turn is no member."""
    return _LAUNCHER in _told()


def is_first() -> bool:
    """Tells whether this process is to say what all members would: it is worker 0, or alone."""
    return _told().get(_INDEX, "0") == "0"


@functools.cache
def _told() -> dict[str, str]:
    """What the launcher told this process; taken out of the environment, so that its own children are told nothing."""
    return {name: os.environ.pop(name) for name in (_LAUNCHER, _INDEX) if name in os.environ}


def die_with_launcher() -> None:
    """Has the kernel kill this process when the launcher is gone, however it ended: no worker stays behind.

    Asked for by the worker itself, as code between fork and exec (`preexec_fn`) may block where threads run. Linux
    alone has it; elsewhere a launcher that is killed by SIGKILL leaves its workers running.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if _told()[_LAUNCHER] != str(os.getppid()):  # it was gone before the kernel knew
            os.kill(os.getpid(), signal.SIGKILL)
