"""`--workers=N`: starts the workers on this machine, and restarts all of them when one fails.

TensorFlow is not loaded here: the launcher only watches.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from ..distribution import tf_config
from ..distribution.forwarding import Signals
from ..errors import DONE, FAILED, PREEMPTED, WRONG_USAGE
from . import member

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 15.0
_LONGEST_ERROR = 20  # lines
_DRAIN_SECONDS = 5.0  # a child of the worker may keep its output open


def run(command: Sequence[str], count: int, max_restarts: int, grace: float = _GRACE_SECONDS) -> int:
    """Run a group of workers to its end.

    Args:
      command: what each worker runs, with TF_CONFIG in its environment.
      count: the number of workers.
      max_restarts: the number of times that the whole group is restarted after a worker has failed.
      grace: seconds for the other workers to end by themselves before they are killed.

    Returns:
      0 if all workers ended well; otherwise the first exit code that is not 0, where "wrong usage" (2) of any worker takes
      precedence over other failures, these over "saved" (42), and a worker that was killed by a signal counts as 1.
    """
    with Signals() as signals:
        for restart in range(1, max_restarts + 2):
            failed = _run_once(command, count, signals, grace)
            code = _exit_code(failed)
            if failed is None or code in (WRONG_USAGE, PREEMPTED) or signals.stopping:
                return code
            if restart > max_restarts:
                _report(f"{failed.ending()}: no restarts left (--max_restarts={max_restarts}).")
                return code
            _report(f"{failed.ending()}: restarting all {count} workers (restart {restart} of {max_restarts}).")
    raise AssertionError("the last round returns")


def _run_once(command: Sequence[str], count: int, signals: Signals, grace: float) -> _Worker | None:
    """Start all workers and wait for all to end; return the one whose exit code is the group's, or None if all is well."""
    workers = _start_all(command, count)
    signals.watch(workers)
    failed = _first_failure(workers)
    if failed is not None:
        _wait_for_the_rest(workers, failed, signals, grace)
        failed = _decisive(workers, failed)
    for worker in workers:
        worker.finish(error_is_known=workers[0].code == WRONG_USAGE)
    return failed


def _start_all(command: Sequence[str], count: int) -> list[_Worker]:
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    return [_Worker(command, addresses, index) for index in range(count)]


def free_ports(count: int) -> list[int]:
    """Return this many ports that are free on this machine now; another process may take one before it is used."""
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def _first_failure(workers: Sequence[_Worker]) -> _Worker | None:
    """Wait for the first worker that ends with a code other than 0; return None if all end with 0."""
    while True:
        running = [worker for worker in workers if worker.code is None]
        failed = [worker for worker in workers if worker.code]
        if failed:
            # Of several at once, one killed by a signal (a negative code) is the cause: only its loss made others fail.
            return min(failed, key=lambda worker: worker.code or 0)
        if not running:
            return None
        time.sleep(_POLL_SECONDS)


def _wait_for_the_rest(workers: Sequence[_Worker], failed: _Worker, signals: Signals, grace: float) -> None:
    """Wait until all workers have ended.

    After wrong usage each of them ends by itself, and so it does after preemption, once all have saved the same checkpoint.
    After a failure they are told to end.
    """
    if signals.stopping:
        _wait(workers, lambda: False)  # they were told, and may take their time: a second Ctrl-C kills them
        return
    if failed.code not in (WRONG_USAGE, PREEMPTED):
        _send(workers, signal.SIGTERM)
    _wait(workers, _deadline(grace if failed.code != PREEMPTED else 4 * grace))
    _send(workers, signal.SIGKILL)
    _wait(workers, lambda: False)


def _wait(workers: Sequence[_Worker], is_over: Callable[[], bool]) -> None:
    while any(worker.code is None for worker in workers) and not is_over():
        time.sleep(_POLL_SECONDS)


def _deadline(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _decisive(workers: Sequence[_Worker], failed: _Worker) -> _Worker:
    """Return the worker whose code is the group's.

    Of one that failed because of its data, the others only notice that it is gone. "Saved" holds only if no worker failed or was
    killed while saving.
    """
    refused = next((worker for worker in workers if worker.code == WRONG_USAGE), None)
    if refused is not None or failed.code != PREEMPTED:
        return refused or failed
    return next((worker for worker in workers if worker.code not in (DONE, PREEMPTED)), failed)


def _exit_code(failed: _Worker | None) -> int:
    if failed is None or failed.code is None:
        return DONE
    return failed.code if failed.code > 0 else FAILED


def _send(workers: Sequence[_Worker], number: int) -> None:
    for worker in workers:
        worker.send(number)


def _report(text: str) -> None:
    sys.stderr.write(f"{text[0].upper()}{text[1:]}\n")
    sys.stderr.flush()


class _Worker:
    """A running worker process.

    Worker 0 shares this process's output. The lines of the others go to stderr with a prefix.

    Args:
      command: what to run.
      addresses: the addresses of all workers of the group.
      index: the number of this worker.
    """

    def __init__(self, command: Sequence[str], addresses: list[str], index: int):
        self._index = index
        variables = {"TF_CONFIG": tf_config.write(addresses, index), **member.environment(os.getpid(), index)}
        is_first = index == 0
        self._process = subprocess.Popen(
            command,
            env=os.environ | variables,
            start_new_session=True,  # Ctrl-C reaches only the launcher, which forwards it once
            stdin=subprocess.DEVNULL,
            stdout=None if is_first else subprocess.PIPE,
            stderr=None if is_first else subprocess.STDOUT,
        )
        self._error: list[str] = []
        self._pump: threading.Thread | None = None
        if self._process.stdout is not None:
            self._pump = threading.Thread(target=self._copy_output, args=(self._process.stdout,), daemon=True)
            self._pump.start()

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        self._process.send_signal(number)

    def finish(self, error_is_known: bool) -> None:
        """Write the rest of the output of a process that has ended.

        Args:
          error_is_known: worker 0 has reported what is wrong with the command, so it is not repeated.
        """
        if self._pump is None:
            return
        self._pump.join(_DRAIN_SECONDS)
        if not (error_is_known and self.code == WRONG_USAGE):
            self._write_error()
        self._error = []

    def ending(self) -> str:
        """Return how the process ended, such as "worker 1 exited with code 1"."""
        code = self.code or 0
        if code < 0:
            return f"worker {self._index} was killed by {signal.Signals(-code).name}"
        return f"worker {self._index} exited with code {code}"

    def _copy_output(self, lines: IO[bytes]) -> None:
        """Copy the output line by line; hold back an error, which comes last, until it is clear whether worker 0 has it too."""
        with lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip("\n")
                if len(self._error) > _LONGEST_ERROR:  # more output follows, so it was not the last message
                    self._write_error()
                if self._error or line.startswith("Error: "):
                    self._error.append(line)
                else:
                    self._write(line)

    def _write_error(self) -> None:
        lines, self._error = self._error, []
        for line in lines:
            self._write(line)

    def _write(self, line: str) -> None:
        sys.stderr.write(f"[worker {self._index}] {line}\n")  # in one call, as other threads write too
        sys.stderr.flush()
