"""Waits for all workers before TensorFlow starts, which would block without a word.

Each worker listens on its own port and tries to connect to all the others. It goes on when it reached all of
them in one sweep; then TensorFlow's server takes the port over, so that later ones reach it too. A sweep that
meets the moment between the two fails for that one, and the next succeeds.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..errors import ClusterError, PreemptedError
from . import preemption
from .membership import Place

_SWEEP_SECONDS = 0.25
_CONNECT_SECONDS = 2.0
_REPORT_SECONDS = 30.0
_MOST_THREADS = 32


def wait_for_workers(
    place: Place,
    timeout: float,
    report_every: float = _REPORT_SECONDS,
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> None:
    """Returns once every worker has been reached.

    Args:
      place: this worker's.
      timeout: seconds to wait for all of them.
      report_every: seconds between two reports on who is missing.
      report: takes a line of text.

    Raises:
      ClusterError: a worker did not come in time, or this worker's port is taken.
      PreemptedError: the process was asked to stop.
    """
    started = reported = time.monotonic()
    with _listening(place) as answer, ThreadPoolExecutor(min(len(place.addresses), _MOST_THREADS)) as threads:
        while missing := _missing(place, threads):
            answer()
            if preemption.requested():
                raise PreemptedError("Stopped while waiting for the other workers.")
            now = time.monotonic()
            if now - started >= timeout:
                raise ClusterError(_gave_up(place, missing, timeout))
            if now - reported >= report_every:
                reported = now
                report(f"Waiting for {_named(place, missing)}, {now - started:.0f} s of {timeout:.0f} s")
            time.sleep(min(_SWEEP_SECONDS, max(0.0, started + timeout - now)))


@contextlib.contextmanager
def _listening(place: Place) -> Iterator[Callable[[], None]]:
    """Holds this worker's port; yields what takes the waiting connections off its queue."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        # Reuses the address, as TensorFlow's server does after it: connections just closed do not block the port.
        server = socket.create_server(
            ("", place.port),
            family=family,
            dualstack_ipv6=family == socket.AF_INET6,
            backlog=len(place.addresses) + 128,
        )
    except OSError as error:
        raise ClusterError(_port_trouble(place, error)) from error
    with server:
        server.setblocking(False)
        yield lambda: _answer(server)


def _answer(server: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()


def _port_trouble(place: Place, error: OSError) -> str:
    mine = f"worker {place.index} ({place.addresses[place.index]}, from {place.source})"
    if error.errno == errno.EADDRINUSE:
        return (
            f"The port of {mine} is in use: another process listens on {place.port}, perhaps a worker of a run before, "
            "or a second worker with the same index. End it, or choose another port."
        )
    return f"{mine} cannot listen on port {place.port}: {error.strerror}."


def _missing(place: Place, threads: ThreadPoolExecutor) -> list[int]:
    peers = place.peers
    return [number for number, here in zip(peers, threads.map(_reached, peers.values()), strict=True) if not here]


def _reached(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            # Where nobody listens, a port of this machine may by chance be connected to itself.
            return connection.getsockname() != connection.getpeername()
    except OSError:  # no such host (yet), nobody there, no answer
        return False


def _gave_up(place: Place, missing: Sequence[int], timeout: float) -> str:
    return (
        f"Gave up after {timeout:.0f} s (multi_worker_mirrored.start_timeout, --start_timeout), still waiting for "
        f"{_named(place, missing)}. Are they started, and are the addresses in {place.source} right and open to this "
        f"machine, worker {place.index}?"
    )


def _named(place: Place, missing: Sequence[int]) -> str:
    shown = ", ".join(f"worker {number} ({place.addresses[number]})" for number in missing[:8])
    rest = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return f"{len(missing)} of {len(place.addresses)} workers: {shown}{rest}"
