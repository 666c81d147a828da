"""What a process owes to those that it has started: its signals, and an end with its own. TensorFlow is not loaded here."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Protocol

from . import preemption

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


class Child(Protocol):
    """A process that was started."""

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        ...


class Signals:
    """Forwards SIGTERM, SIGINT and SIGHUP to all children once; a second SIGINT kills them.

    One that is ignored stays so, for the children too, which inherit that.
    """

    def __init__(self) -> None:
        self._children: Sequence[Child] = ()
        self._received: int | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Signals:
        self._stack.enter_context(preemption.output_without_terminal())
        for number in preemption.not_ignored():
            self._stack.callback(signal.signal, number, signal.signal(number, self._forward))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def stopping(self) -> bool:
        """True if this process was told to end."""
        return self._received is not None

    def watch(self, children: Sequence[Child]) -> None:
        """Forward signals to these from now on, to the new ones including one that came while they were being started."""
        new = [child for child in children if child not in self._children]
        self._children = children
        if self._received is not None:
            _send(new, self._received)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            preemption.drop_lost_terminals()
        if not self.stopping:
            self._received = number
            _send(self._children, number)
        elif number == signal.SIGINT:
            _send(self._children, signal.SIGKILL)


def _send(children: Sequence[Child], number: int) -> None:
    for child in children:
        child.send(number)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends in any way.

    The child asks for it itself, as code between fork and exec (`preexec_fn`) can deadlock in a process with threads. Only
    Linux has it; elsewhere, a parent killed by SIGKILL leaves its children running.

    Args:
      parent: the process ID of the process that started this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if parent != os.getppid():  # it ended before the kernel was asked
            os.kill(os.getpid(), signal.SIGKILL)
