"""The place of a process in a cluster: who the workers are, and which of them it is."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Place:
    """One process's place among the workers.

    Worker 0, the chief, is the one that writes. It is the only `chief` task, where there is one, else `worker` 0.
    """

    addresses: tuple[str, ...]
    """Of all workers, "host:port" each, in the order of their numbers."""
    index: int
    """The number of this worker."""
    source: str
    """What said so, for messages: `TF_CONFIG`, or the names of other variables."""
    has_chief_job: bool = False
    """Whether the first address is that of a `chief` task, as TF_CONFIG may have it."""

    @property
    def port(self) -> int:
        """Where this worker listens."""
        return split_address(self.addresses[self.index])[1]

    @property
    def peers(self) -> dict[int, tuple[str, int]]:
        """Number -> host and port of every other worker."""
        return {i: split_address(address) for i, address in enumerate(self.addresses) if i != self.index}


def split_address(address: str) -> tuple[str, int]:
    """Splits "host:port"; the host may be an IPv6 address in brackets.

    Raises:
      ValueError: it is no such thing.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)
