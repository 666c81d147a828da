"""The source `bucketed`: sequences of different lengths, in batches of like lengths."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin
import numpy as np

from ....metrics.errors import UsageError
from ...checks import whole_number
from ...rows.rows import covers_content, is_by_number, one_by_one
from ..storage.files import cached
from ..storage.rows import checked, stack
from .shuffled import shuffled

_BLOCK = 1024  # the examples that are in memory at once while all are measured
_GOLDEN = 0x9E3779B1


@gin.register(module="tallyloop")
def bucketed(source: Any, sizes: Sequence[int], keys: Sequence[str] = ("tokens",), padding: float = 0) -> Buckets:
    """Return the sequences of a source in batches of like lengths, by row number.

    In training, the rows are sorted by the smallest size that holds them, in a new order within each size and of the batches in
    each epoch. So a batch is padded little, and has one of a few shapes. An evaluation keeps the order of the source. All rows
    are read once, for their lengths, which are kept in the cache folder if the source has a fingerprint.

    Args:
      source: an object with `__len__` and `__getitem__` or `__getitems__`, such as a list or a Hugging Face dataset, whose
        examples are dicts.
      sizes: the lengths to which batches are padded, such as [32, 64, 128]; no sequence may be longer than the largest.
      keys: the values of an example that are padded along their first axis; they have the same length.
      padding: the value to pad with.

    Returns:
      Rows of the source's keys, and `length`, int32: the length of the example before it was padded.

    Raises:
      UsageError: an argument is not as described, or a sequence is too long.
    """
    found = source() if callable(source) and not is_by_number(source) else source
    if not is_by_number(found):
        raise UsageError(
            f"bucketed.source = {source!r}: expected an object with __len__ and __getitem__ or __getitems__, got a "
            f"{type(found).__name__}"
        )
    if not isinstance(sizes, Sequence) or not sizes or list(sizes) != sorted(set(sizes)):
        raise UsageError(
            f"bucketed.sizes = {sizes!r}: expected different lengths, the shortest first, such as [32, 64, 128]"
        )
    if isinstance(keys, str) or not keys:
        raise UsageError(f"bucketed.keys = {keys!r}: expected a list of names, such as ['tokens']")
    for size in sizes:
        whole_number("bucketed.sizes", size, least=1)
    sequences = Sequences(found, list(keys), padding)
    return Buckets(sequences, sequences.lengths(), np.array(sizes))


class Sequences:
    """The examples of a source, padded.

    Args:
      source: rows by number.
      keys: the values to pad.
      padding: the value to pad with.
    """

    def __init__(self, source: Any, keys: list[str], padding: float):
        self._source, self._keys, self._padding = source, keys, padding

    def __len__(self) -> int:
        return len(self._source)

    @property
    def fingerprint(self) -> str | None:
        """That of the source, if it has one."""
        return getattr(self._source, "fingerprint", None)

    @property
    def covers_content(self) -> bool:
        """True if other examples have another fingerprint."""
        return covers_content(self._source)

    def lengths(self) -> np.ndarray:
        """Return the length of each example, int32; from the cache folder if they were measured before."""
        if not self.covers_content:
            return self._measured()
        name, key = "lengths.npy", ("bucketed", self.fingerprint, len(self), *self._keys)
        return np.load(cached(None, key, lambda place: np.save(place / name, self._measured())) / name)

    def padded(self, rows: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Return examples, each padded to its size, stacked; the sizes of a call are the same.

        Raises:
          UsageError: one is longer than its size: it has changed since all were measured.
        """
        examples = one_by_one(self._source, rows)
        lengths = [self._length(row, example) for row, example in zip(rows.tolist(), examples, strict=True)]
        _check_fit(rows, lengths, sizes)
        return stack([
            {**self._padded(example, size), "length": np.int32(length)}
            for example, size, length in zip(examples, sizes.tolist(), lengths, strict=True)
        ])  # fmt: skip

    def _padded(self, example: Mapping[str, Any], size: int) -> dict[str, Any]:
        return {**example, **{key: self._pad(example[key], size) for key in self._keys}}

    def _pad(self, value: Any, size: int) -> np.ndarray:
        is_empty = isinstance(value, list) and not value  # of which NumPy would make floats
        array = np.asarray(value, type(self._padding) if is_empty else None)
        widths = [(0, max(0, size - len(array)))] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, widths, constant_values=self._padding)

    def _measured(self) -> np.ndarray:
        return np.fromiter(self._all_lengths(), np.int32, len(self))

    def _all_lengths(self) -> Iterator[int]:
        for start in range(0, len(self), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(self)))
            yield from map(self._length, rows.tolist(), one_by_one(self._source, rows))

    def _length(self, row: int, example: Any) -> int:
        missing = self._keys if not isinstance(example, Mapping) else [key for key in self._keys if key not in example]
        if missing:
            got = list(example) if isinstance(example, Mapping) else f"a {type(example).__name__}"
            raise UsageError(f"bucketed.keys = {self._keys}: expected these in row {row} of the source, got {got}")
        if "length" in example:
            raise UsageError(
                f"bucketed: row {row} of the source has the key 'length', which is added: expected another name"
            )
        lengths = {key: len(np.atleast_1d(np.asarray(example[key]))) for key in self._keys}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"bucketed.keys: expected one length for all in row {row} of the source, got {lengths}")
        return lengths[self._keys[0]]


def _check_fit(rows: np.ndarray, lengths: list[int], sizes: np.ndarray) -> None:
    for row, length, size in zip(rows.tolist(), lengths, sizes.tolist(), strict=True):
        if length > size:
            raise UsageError(
                f"bucketed: row {row} of the source has length {length}: expected at most {size}, as when all were measured; "
                "the source has changed without its fingerprint, or is not the same each time"
            )


class Buckets:
    """Sequences by row number, in an order of their own.

    A number beyond the length of the source says to what size the row is padded: `row + k * len` to that of number k, but at
    least to the smallest that holds it. One size more, 1 above the largest, shows that lengths vary.

    Args:
      sequences: the examples.
      lengths: of each of them.
      sizes: int64, ascending.

    Attributes:
      probes: numbers of rows whose examples have all shapes.
      fingerprint: what must be the same on a rerun: the lengths, and the fingerprint of the source, if it has one.
      covers_content: whether other examples have another fingerprint.

    Raises:
      UsageError: a sequence is longer than the largest size.
    """

    def __init__(self, sequences: Sequences, lengths: np.ndarray, sizes: np.ndarray):
        self._sequences, self._sizes = sequences, sizes
        self._bucket = np.searchsorted(sizes, lengths)
        if self._bucket.max(initial=0) == len(sizes):
            row = int(np.argmax(lengths))
            raise UsageError(
                f"bucketed.sizes = {sizes.tolist()}: expected the largest to be at least the longest sequence, which is row "
                f"{row} of the source, of length {lengths[row]}: add a size, or cut the sequences"
            )
        self._sorted = np.argsort(self._bucket, kind="stable")
        self._starts = np.searchsorted(self._bucket[self._sorted], np.arange(len(sizes) + 1))
        self.probes: tuple[int, ...] = (0, len(sizes) * len(self)) if len(sizes) > 1 else (0,)
        self.covers_content: bool = sequences.covers_content
        digest = hashlib.sha256(repr((sequences.fingerprint, sizes.tolist())).encode() + lengths.tobytes()).hexdigest()
        self.fingerprint: str = f"{len(self)} sequences in buckets of {sizes.tolist()} ({digest[:16]})"

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return examples padded as their numbers say, which must be the same size for all of a call."""
        sizes, rows = np.divmod(checked(rows, len(self) * (len(self._sizes) + 1)), len(self))
        all_sizes = np.append(self._sizes, self._sizes[-1] + 1)
        return self._sequences.padded(rows, all_sizes[np.maximum(sizes, self._bucket[rows])])

    def arranged(
        self, positions: np.ndarray, epochs: np.ndarray, *, batch_size: int, seed: int, shuffle: bool
    ) -> np.ndarray:
        """Return the numbers of the rows at some positions of some epochs; those of a batch have the same size.

        Args:
          positions: int64 [k], in an epoch, which is cut into batches from its start.
          epochs: int64 [k].
          batch_size: the rows of a global batch.
          seed: of the order.
          shuffle: whether to sort the rows by size, and draw an order; else they keep that of the source.
        """
        if not shuffle:
            sizes = np.maximum.reduceat(self._bucket, np.arange(0, len(self), batch_size))
            return positions + sizes[positions // batch_size] * len(self)
        batches, within = np.divmod(positions, batch_size)
        full = len(self) // batch_size  # a short batch is the last one of an epoch
        batches[batches < full] = shuffled(batches[batches < full], epochs[batches < full], full, seed)
        places = batches * batch_size + within
        last = np.minimum((batches + 1) * batch_size, len(self)) - 1
        return self._drawn(places, epochs, seed) + self._bucket[self._sorted[last]] * len(self)

    def named(self, row: int) -> str:
        """Return what an error calls a row."""
        return f"row {row % len(self)}"

    def _drawn(self, places: np.ndarray, epochs: np.ndarray, seed: int) -> np.ndarray:
        """Return the rows at some places of the sorted rows, each bucket of which is shuffled."""
        drawn, buckets = np.empty_like(places), self._bucket[self._sorted[places]]
        for bucket in np.unique(buckets).tolist():
            here, start, size = buckets == bucket, self._starts[bucket], np.diff(self._starts)[bucket]
            key = (
                seed + (bucket + 1) * _GOLDEN
            ) % 2**32  # buckets of one size, and the batches, are in different orders
            drawn[here] = start + shuffled(places[here] - start, epochs[here], int(size), key)
        return self._sorted[drawn]
