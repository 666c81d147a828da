"""The membership of a process in a cluster: who the workers are, and which of them it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ...metrics.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Membership:
    """One process among the workers of a cluster.

    Worker 0, the chief, is the one that writes. It is the only `chief` task if there is one, otherwise `worker` 0.

    Attributes:
      addresses: "host:port" of every worker, in the order of their indices.
      index: the index of this worker.
      source: where this was read, for messages: `TF_CONFIG`, or the names of other variables.
    """

    addresses: tuple[str, ...]
    index: int
    source: str

    @property
    def port(self) -> int:
        """The port that this worker listens on."""
        return split_address(self.addresses[self.index])[1]

    @property
    def peers(self) -> dict[int, tuple[str, int]]:
        """Index -> host and port of every other worker."""
        return {i: split_address(address) for i, address in enumerate(self.addresses) if i != self.index}


def split_address(address: str) -> tuple[str, int]:
    """Split "host:port"; the host may be an IPv6 address in brackets.

    Raises:
      ValueError: it isn't of this form.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{address!r} isn't host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def whole_number_of(environment: Mapping[str, str], name: str, default: str = "") -> int:
    """Return the value of a variable, such as a number of workers.

    Raises:
      UsageError: it isn't a whole number.
    """
    text = environment.get(name, default)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name}={text}: expected a whole number.")
    return int(text)
