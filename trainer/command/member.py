"""What a worker process knows of the launcher that started it: `--workers` runs the same command once per worker."""

from __future__ import annotations

import functools
import os

from ..distribution.forwarding import die_with

_LAUNCHER, _INDEX = "TALLYLOOP_LAUNCHER", "TALLYLOOP_WORKER"


def environment(launcher: int, index: int) -> dict[str, str]:
    """Return the environment variables that make a process a member of a group.

    Args:
      launcher: the process ID of the launcher.
      index: the number of the worker.
    """
    return {_LAUNCHER: str(launcher), _INDEX: str(index)}


def is_member() -> bool:
    """Return whether a launcher started this process. A command that a worker starts in turn is not a member."""
    return _LAUNCHER in _variables()


def is_first() -> bool:
    """Return whether this process prints what all members would print: it is worker 0, or not a member."""
    return _variables().get(_INDEX, "0") == "0"


@functools.cache
def _variables() -> dict[str, str]:
    """Return the launcher's variables. They leave the environment, so that this process's children do not inherit them."""
    return {name: os.environ.pop(name) for name in (_LAUNCHER, _INDEX) if name in os.environ}


def die_with_launcher() -> None:
    """Have the kernel kill this process when the launcher ends in any way, so that no worker stays behind."""
    die_with(int(_variables()[_LAUNCHER]))
