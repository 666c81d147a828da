"""Child processes of `python -m benchmarks.NAME`, and the environment that makes some of them a cluster.

A child either answers with one line of JSON or runs lap by lap: it halts before its first lap and after each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tallyloop.trainer.command.group import free_ports
from tallyloop.trainer.distribution import tf_config

from .child import HALTED

ROOT = Path(__file__).parents[2]
_TAIL = 2000  # characters of a child's standard error in an error message


def command(name: str, *arguments: object) -> list[str]:
    """Return the command line that starts the module `benchmarks.NAME`."""
    return [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]


def ask(name: str, *arguments: object, environments: Sequence[Mapping[str, str]] = ({},)) -> Any:
    """Start one child per environment, and return the answer of the first."""
    children = [Child(command(name, *arguments), environment) for environment in environments]
    try:
        return json.loads(children[0].read(lambda line: line.startswith("{")))
    finally:
        for child in children:
            child.close()


def cluster_environments(workers: int) -> list[dict[str, str]]:
    """Return the `TF_CONFIG` of each worker of a cluster on free ports of this machine."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    return [{"TF_CONFIG": tf_config.write(addresses, index)} for index in range(workers)]


def end(processes: Sequence[subprocess.Popen], grace: float) -> None:
    """Wait `grace` seconds for all processes, then kill them: a worker whose peer is gone would wait forever."""
    limit = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


class Child:
    """A child process, started at once.

    Args:
      line: the command line.
      environment: variables to add to this process's environment.
    """

    def __init__(self, line: Sequence[str], environment: Mapping[str, str]):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (until `close`)
        self._process = subprocess.Popen(
            line,
            cwd=ROOT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def resume(self) -> None:
        """Let a halted child run its next lap."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def send(self, number: int) -> None:
        """Send the child a signal."""
        self._process.send_signal(number)

    def read(self, matches: Callable[[str], bool]) -> str:
        """Wait for the first line of output that matches, and return it.

        Raises:
          RuntimeError: the child exited first.
        """
        for line in self._process.stdout:
            if matches(line.strip()):
                return line
        raise RuntimeError(f"exit code {self._process.wait()}: {self._tail()}")

    def wait(self) -> None:
        """Wait for the child to exit.

        Raises:
          RuntimeError: its exit code is not 0.
        """
        if self._process.wait():
            raise RuntimeError(f"exit code {self._process.returncode}: {self._tail()}")

    def close(self) -> None:
        """Kill the child."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            stream.close()

    def _tail(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-_TAIL:]


class WholeProcess:
    """A contestant whose lap is a whole process, from its start to a line of its output or to its exit.

    Args:
      line: makes the command line of each lap.
      until: matches the line of output that ends the lap; None waits for the exit.
    """

    def __init__(self, line: Callable[[], Sequence[str]], until: Callable[[str], bool] | None = None):
        self._line = line
        self._until = until

    def lap(self) -> float:
        """Run the process once, and return the seconds."""
        line = self._line()
        started = time.perf_counter()
        child = Child(line, {})
        try:
            if self._until is None:
                child.wait()
            else:
                child.read(self._until)
            return time.perf_counter() - started
        finally:
            child.close()

    def close(self) -> None:
        """Do nothing: each lap ends its process."""


class LapProcesses:
    """A contestant made of one process per environment, started by the first lap; the first halts, and the others wait for it.

    One alone is stopped between its laps, on systems that can: its threads would go on to read ahead, or to wait busily, in the
    laps of the others. Workers would miss each other.

    Args:
      line: the command line; the child calls `child.run_in_laps`.
      environments: one per process.
      steps: per lap.
    """

    def __init__(self, line: Sequence[str], environments: Sequence[Mapping[str, str]], steps: int):
        self._line, self._environments, self._steps = line, environments, steps
        self._children: list[Child] = []

    def lap(self) -> float:
        """Let them run one lap, and return the seconds per step, as the first process measured them."""
        if not self._children:
            self._children = [Child(self._line, environment) for environment in self._environments]
            self._read_halt()
        self._signal("SIGCONT")
        self._children[0].resume()
        seconds = self._read_halt()
        self._signal("SIGSTOP")
        return seconds / self._steps

    def close(self) -> None:
        """Kill them."""
        for child in self._children:
            child.close()

    def _signal(self, name: str) -> None:
        if len(self._children) == 1 and hasattr(signal, name):
            self._children[0].send(getattr(signal, name))

    def _read_halt(self) -> float:
        return float(self._children[0].read(lambda line: line.startswith(HALTED)).split()[1])
