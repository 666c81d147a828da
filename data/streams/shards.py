"""The shards of a stream: what each of them holds, and which of them a worker reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ...metrics.errors import UsageError
from ..checks import takes_shards
from ..elements import Nest, check_batchable
from ..feeds.iterators import refuse_batched
from ..sources.records import Records

_ORIGIN = "the source of Input"


@dataclasses.dataclass(frozen=True)
class Worker:
    """One of the processes that share the work of a step.

    Attributes:
      index: which of them.
      count: how many there are.
    """

    index: int = 0
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Shards:
    """A stream that is cut into a fixed number of shards.

    Attributes:
      count: how many there are.
      of: shard -> a dataset of its examples that was never read, where reading it changes anything.
      fingerprint: what tells that two runs have the same shards, where the source can tell it.
      sizes: the bytes of each shard, where they are known.
    """

    count: int
    of: Callable[[int], tf.data.Dataset[Nest]]
    fingerprint: str | None = None
    sizes: Sequence[int] = ()

    def own(self, worker: Worker) -> range:
        """Return the shards that a worker reads.

        Raises:
          UsageError: the workers cannot share them equally.
        """
        if self.count % worker.count:
            divisors = [str(n) for n in range(1, self.count + 1) if self.count % n == 0]
            raise UsageError(
                f"Input.shards = {self.count}: expected a multiple of the number of workers, got {worker.count} workers: start "
                f"{_either(divisors)}, or choose another number of shards, which makes other batches"
            )
        each = self.count // worker.count
        return range(each * worker.index, each * (worker.index + 1))


def cut(source: Any, count: int) -> Shards:
    """Return the shards of `Input.source`.

    Raises:
      UsageError: it cannot be cut into that many.
    """
    if takes_shards(source):
        return Shards(count, lambda shard: _checked(source(shard, count)))
    found = source() if callable(source) else source
    if not isinstance(found, tf.data.Dataset):
        raise UsageError(
            f"Input.shards = {count}: expected a stream as Input.source, got arrays or rows by number, of which each worker "
            "reads the rows of its replicas anyway. Remove Input.shards."
        )
    if not isinstance(found, Records):
        raise UsageError(
            f"Input.shards = {count}: expected tfrecord, or a function of (shard, shards) that returns the examples of one "
            "shard, as Input.source, got a dataset, which can only be read as a whole. Make it such a function, or remove "
            "Input.shards."
        )
    if count > len(found.files):
        raise UsageError(
            f"Input.shards = {count}: expected at most the number of files of tfrecord, got {len(found.files)} files. Lower it, "
            "or write more files."
        )
    of = functools.cache(lambda shard: found.shard_of_files(shard, count))
    return Shards(count, of, found.fingerprint, [sum(file.size for file in of(shard).files) for shard in range(count)])


def _checked(found: Any) -> tf.data.Dataset[Nest]:
    if not isinstance(found, tf.data.Dataset):
        raise UsageError(
            f"{_ORIGIN}: expected a tf.data.Dataset of a function of (shard, shards), got a {type(found).__name__}"
        )
    check_batchable(found.element_spec, _ORIGIN)
    refuse_batched(found)
    return found


def _either(numbers: list[str]) -> str:
    return numbers[0] if len(numbers) == 1 else f"{', '.join(numbers[:-1])} or {numbers[-1]}"
