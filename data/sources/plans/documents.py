"""Sequences of tokens of different lengths, read from whatever holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....metrics.errors import UsageError
from ...rows.rows import covers_content, is_by_number, one_by_one

_BLOCK = 1024  # the documents that are in memory at once while all are counted


class Documents:
    """The documents of a source, by number.

    Args:
      source: a sequence of sequences of token numbers, or rows by number: an object with `__len__` and `__getitem__` or
        `__getitems__`, whose example is a dict, or the tokens.
      key: which value of a dict.
      tokenizer: value -> token numbers, where the values are texts.

    Raises:
      UsageError: the source is none of these.
    """

    def __init__(self, source: Any, key: str, tokenizer: Callable[[str], Sequence[int]] | None):
        found: Any = source() if callable(source) and not is_by_number(source) else source
        has_rows = hasattr(found, "__getitem__") or hasattr(found, "__getitems__")
        if isinstance(found, Mapping) or not (hasattr(found, "__len__") and has_rows):
            raise UsageError(
                f"packed.source = {source!r}: expected sequences of tokens, or an object with __len__ and __getitem__ or "
                f"__getitems__, got a {type(found).__name__}"
            )
        if tokenizer is not None and not callable(tokenizer):
            raise UsageError(f"packed.tokenizer = {tokenizer!r}: expected a function from a text to its token numbers")
        self._source: Any = found
        self._key, self._tokenizer = key, tokenizer

    def __len__(self) -> int:
        return len(self._source)

    @property
    def fingerprint(self) -> str | None:
        """A string that is the same for the same documents; None if the source or a tokenizer does not tell."""
        found = getattr(self._source, "fingerprint", None)
        return None if not found or self._tokenizer is not None else f"{found}, {self._key!r}"

    @property
    def covers_content(self) -> bool:
        """True if other documents have another fingerprint."""
        return self.fingerprint is not None and covers_content(self._source)

    def lengths(self) -> np.ndarray:
        """Return the tokens in each document; all of them are read."""
        blocks = (np.arange(start, min(start + _BLOCK, len(self))) for start in range(0, len(self), _BLOCK))
        return np.fromiter((len(each) for block in blocks for each in self.read(block)), np.int64, len(self))

    def read(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Return the tokens of some documents, each int32 (n,)."""
        return list(self._read(numbers))

    def joined(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (the tokens of some documents, one after the other, int32; the tokens in each, int64)."""
        found = self._read(numbers)
        if isinstance(found, np.ndarray):
            return found.reshape(-1), np.full(len(found), found.shape[1])
        return np.concatenate([np.zeros(0, np.int32), *found]), np.fromiter(map(len, found), np.int64, len(found))

    def _read(self, numbers: np.ndarray) -> np.ndarray | list[np.ndarray]:
        """Return the tokens as an array with a row for each document, if the source has one, or as a list."""
        if not len(numbers):
            return []
        values = self._values(numbers)
        is_table = isinstance(values, np.ndarray) and values.ndim == 2 and len(values) == len(numbers)
        if self._tokenizer is None and is_table and _fits(values):
            return values.astype(np.int32, copy=False)
        return [self._tokens(number, value) for number, value in zip(numbers.tolist(), values, strict=True)]

    def _values(self, numbers: np.ndarray) -> Any:
        """Return what the source holds at some numbers: a list, or an array with a row for each."""
        if hasattr(self._source, "__getitem__"):  # in which lengths may differ
            return [self._value(each) for each in one_by_one(self._source, numbers)]
        found = self._source.__getitems__(numbers)
        return self._value(found) if isinstance(found, Mapping) else [self._value(each) for each in found]

    def _value(self, example: Any) -> Any:
        if not isinstance(example, Mapping):
            return example
        if self._key not in example:
            raise UsageError(
                f"packed.key = {self._key!r}: expected one of {list(example)}, which the source gives; correct it"
            )
        return example[self._key]

    def _tokens(self, number: int, value: Any) -> np.ndarray:
        if self._tokenizer is None and type(value) in (str, bytes):
            raise UsageError(
                f"packed: document {number} (counted from 0) is a text: expected tokens; bind packed.tokenizer"
            )
        tokens = _array(number, value if self._tokenizer is None else self._tokenizer(value))
        if tokens.shape == (0,):
            return np.zeros(0, np.int32)
        if tokens.ndim != 1 or not _fits(tokens):
            raise UsageError(
                f"packed: document {number} (counted from 0) is {tokens.dtype} of shape {tokens.shape}: expected a sequence of "
                "token numbers of 32 bits"
            )
        return tokens.astype(np.int32, copy=False)


def _fits(tokens: np.ndarray) -> bool:
    """Return whether all are whole numbers of 32 bits."""
    if np.can_cast(tokens.dtype, np.int32) and tokens.dtype.kind in "iu":
        return True
    return tokens.dtype.kind in "iu" and (tokens.size == 0 or (tokens.max() < 2**31 and tokens.min() >= -(2**31)))


def _array(number: int, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:  # of parts of different lengths
        raise UsageError(
            f"packed: document {number} (counted from 0) is a {type(value).__name__} that is not an array ({error}): expected a "
            "sequence of token numbers, or a dict that has one under packed.key"
        ) from error
