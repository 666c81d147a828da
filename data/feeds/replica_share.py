"""Which part of the global batch a replica works on, for the layers that need to know."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

_THREAD = threading.local()  # MirroredStrategy traces each replica in a thread of its own


class ReplicaShare(NamedTuple):
    """A replica's examples of the global batch; the numbers are int64 scalars.

    Attributes:
      replica: the number of the replica.
      first: the position of its first example in the global batch.
      rows: the number of its examples. With 0 the replica runs on a borrowed example, which counts for nothing.
      examples: the number of examples in the global batch.
      all_replicas: whether all replicas of all workers work on the batch at once. In the evaluation of a sharded stream, each
        worker has batches of its own, and comes to their end on its own.
    """

    replica: tf.Tensor
    first: tf.Tensor
    rows: tf.Tensor
    examples: tf.Tensor
    all_replicas: bool = True

    @classmethod
    def current(cls) -> ReplicaShare | None:
        """Return the share that this replica is working on; None outside `active`."""
        return getattr(_THREAD, "share", None)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Make this the `current` share of the calling thread inside the context."""
        before, _THREAD.share = ReplicaShare.current(), self
        try:
            yield
        finally:
            _THREAD.share = before
