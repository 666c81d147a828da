"""Which part of the global batch a replica is working on, for the layers that have to know."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

_LOCAL = threading.local()  # MirroredStrategy traces each replica in a thread of its own


class Share(NamedTuple):
    """A replica's examples: `rows` of the `examples` of the global batch, from `first` on (int64 scalars).

    A replica with `rows` = 0 runs on a borrowed example, which counts for nothing. `replica` is its number.
    """

    replica: tf.Tensor
    first: tf.Tensor
    rows: tf.Tensor
    examples: tf.Tensor


def share_of(replica: tf.Tensor, replicas: int, rows: tf.Tensor, examples: tf.Tensor) -> Share:
    """The share of a replica, as `Feed.shard` cuts it."""
    return Share(replica, examples * replica // replicas, rows, examples)


@contextlib.contextmanager
def working_on(share: Share) -> Iterator[None]:
    """Within it, `current` returns the share."""
    before, _LOCAL.share = current(), share
    try:
        yield
    finally:
        _LOCAL.share = before


def current() -> Share | None:
    """The share that this replica is working on; None outside of a train step."""
    return getattr(_LOCAL, "share", None)
