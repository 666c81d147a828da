"""Ports for processes that talk to each other on this machine."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Returns so many ports that are free now; another process may take one before it is used."""
    servers = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports
