"""Worker processes on this machine: their ports, their environment and their end."""

from __future__ import annotations

import json
import socket
import subprocess
import time


def environments(workers: int) -> list[dict[str, str]]:
    """The environment of each worker of a cluster on free ports of this machine."""
    addresses = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(workers)]}
    places = [{"cluster": addresses, "task": {"type": "worker", "index": i}} for i in range(workers)]
    return [{"TF_CONFIG": json.dumps(place)} for place in places]


def end(processes: list[subprocess.Popen], grace: float) -> None:
    """Gives them `grace` seconds; a worker whose peer is gone would wait for ever."""
    limit = time.monotonic() + grace
    for process in processes:
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
