"""Waits for all workers before TensorFlow starts, which would block silently.

Each worker listens on its own port and tries to connect to all the others. It continues once it has reached all of
them in one sweep; TensorFlow's server then takes over the port, so that later workers reach it too. A sweep that hits
the moment between the two fails for that worker, and the next one succeeds.
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
from .membership import Membership

_SWEEP_SECONDS = 0.25
_CONNECT_SECONDS = 2.0
_REPORT_SECONDS = 30.0
_MOST_THREADS = 32


def wait_for_workers(membership: Membership, timeout: float) -> None:
    """Return once every worker has been reached; report on stderr, now and then, who is missing.

    Args:
      membership: this worker's.
      timeout: seconds to wait for all of them.

    Raises:
      ClusterError: a worker did not appear in time, or this worker's port is taken.
      PreemptedError: the process was asked to stop.
    """
    started = reported = time.monotonic()
    with _listening(membership) as answer, ThreadPoolExecutor(min(len(membership.addresses), _MOST_THREADS)) as threads:
        while missing := _missing(membership, threads):
            answer()
            if preemption.requested():
                raise PreemptedError("Stopped while waiting for the other workers.")
            now = time.monotonic()
            if now - started >= timeout:
                raise ClusterError(_gave_up(membership, missing, timeout))
            if now - reported >= _REPORT_SECONDS:
                reported, waited = now, f"{now - started:.0f} s of {timeout:.0f} s"
                print(f"Waiting for {_named(membership, missing)}, {waited}", file=sys.stderr, flush=True)
            time.sleep(min(_SWEEP_SECONDS, max(0.0, started + timeout - now)))


@contextlib.contextmanager
def _listening(membership: Membership) -> Iterator[Callable[[], None]]:
    """Hold this worker's port; yields a function that accepts the waiting connections."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        # Reuses the address, as TensorFlow's server does afterwards: just-closed connections do not block the port.
        server = socket.create_server(
            ("", membership.port),
            family=family,
            dualstack_ipv6=family == socket.AF_INET6,
            backlog=len(membership.addresses) + 128,
        )
    except OSError as error:
        raise ClusterError(_port_trouble(membership, error)) from error
    with server:
        server.setblocking(False)
        yield lambda: _answer(server)


def _answer(server: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()


def _port_trouble(membership: Membership, error: OSError) -> str:
    mine = f"worker {membership.index} ({membership.addresses[membership.index]}, from {membership.source})"
    if error.errno == errno.EADDRINUSE:
        return (
            f"The port of {mine} is in use: another process listens on {membership.port}, perhaps a worker of an earlier run, "
            "or a second worker with the same index. Stop it, or choose another port."
        )
    return f"{mine} cannot listen on port {membership.port}: {error.strerror}."


def _missing(membership: Membership, threads: ThreadPoolExecutor) -> list[int]:
    peers = membership.peers
    return [number for number, here in zip(peers, threads.map(_reached, peers.values()), strict=True) if not here]


def _reached(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=_CONNECT_SECONDS) as connection:
            # Where nobody listens, a local port may happen to be connected to itself.
            return connection.getsockname() != connection.getpeername()
    except OSError:  # no such host (yet), nobody listening, no answer
        return False


def _gave_up(membership: Membership, missing: Sequence[int], timeout: float) -> str:
    return (
        f"Gave up after {timeout:.0f} s (multi_worker_mirrored.start_timeout, --start_timeout), still waiting for "
        f"{_named(membership, missing)}. Are they started, and are the addresses in {membership.source} correct and "
        f"reachable from this machine, worker {membership.index}?"
    )


def _named(membership: Membership, missing: Sequence[int]) -> str:
    shown = ", ".join(f"worker {number} ({membership.addresses[number]})" for number in missing[:8])
    rest = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return f"{len(missing)} of {len(membership.addresses)} workers: {shown}{rest}"
