"""Worker processes on this machine: their ports, their environment and their end."""

from __future__ import annotations

import subprocess
import time

from tallyloop.trainer.distribution import tf_config
from tallyloop.trainer.launch.group import free_ports


def environments(workers: int) -> list[dict[str, str]]:
    """The environment of each worker of a cluster on free ports of this machine."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    return [{"TF_CONFIG": tf_config.write(addresses, index)} for index in range(workers)]


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
