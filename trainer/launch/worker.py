"""One worker process of a group, and its output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO

from ..distribution import tf_config
from . import member
from .exit_codes import WRONG_USAGE
from .ports import free_ports

_LONGEST_ERROR = 20  # lines
_DRAIN_SECONDS = 5.0  # a process of the worker's own may hold its output open


class Worker:
    """A running worker. The first one has this process's output; each line of the others gets a prefix, on stderr.

    Args:
      command: what to run.
      addresses: of all workers of the group.
      index: the number of this one.
    """

    def __init__(self, command: Sequence[str], addresses: list[str], index: int):
        self.index = index
        environment = {"TF_CONFIG": tf_config.write(addresses, index), **member.variables(os.getpid(), index)}
        piped = {} if index == 0 else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(
            command,
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C reaches the launcher alone, which tells all workers once
            stdin=subprocess.DEVNULL,
            **piped,
        )
        self._held: list[str] = []
        self._pump = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
        if piped:
            self._pump.start()

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, signal_number: int) -> None:
        """Sends a signal, if the process is still there."""
        self._process.send_signal(signal_number)

    def finish(self, said_already: bool) -> None:
        """Writes what is left of its output, once it has ended.

        Args:
          said_already: the first worker has said what is wrong with the command: it is not repeated.
        """
        if self._pump.ident is None:
            return
        self._pump.join(_DRAIN_SECONDS)
        if not (said_already and self.code == WRONG_USAGE):
            self._release()
        self._held = []

    def how_it_ended(self) -> str:
        """Such as "worker 1 ended with exit code 1"."""
        if self.code < 0:
            return f"worker {self.index} was ended by {signal.Signals(-self.code).name}"
        return f"worker {self.index} ended with exit code {self.code}"

    def _pass_on(self, lines: IO[bytes]) -> None:
        """An error is the last thing that a worker says: it is held until it is known whether it is the first's too."""
        with lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip("\n")
                if len(self._held) > _LONGEST_ERROR:  # it went on after that line, which was no last word
                    self._release()
                if self._held or line.startswith("Error: "):
                    self._held.append(line)
                else:
                    self._write(line)

    def _release(self) -> None:
        held, self._held = self._held, []
        for line in held:
            self._write(line)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"[worker {self.index}] {line}\n")  # in one piece, as other threads write too
        sys.stderr.flush()


def start_all(command: Sequence[str], count: int) -> list[Worker]:
    """Starts all workers of a group on ports of this machine that are free now."""
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    return [Worker(command, addresses, index) for index in range(count)]
