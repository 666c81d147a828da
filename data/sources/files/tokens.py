"""Text as one sequence of tokens, and its windows."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import checked


class Tokens(NamedTuple):
    """A sequence of tokens.

    Attributes:
      numbers: of any integer dtype, (n,).
      vocabulary: the character of each number; None if tokens are not characters.
    """

    numbers: np.ndarray
    vocabulary: str | None


class Windows:
    """The windows of a sequence of tokens, by row number.

    Args:
      tokens: the whole sequence.
      length: the tokens of a window.
      stride: from the start of a window to that of the next.
      split: the part of the sequence, as fractions.

    Raises:
      UsageError: the part is too short for a window.
    """

    def __init__(self, tokens: Tokens, length: int, stride: int, split: tuple[float, float]):
        start, end = (round(fraction * len(tokens.numbers)) for fraction in split)
        numbers = tokens.numbers[start:end]
        self._numbers, self._length, self._stride = numbers, length, stride
        self._count = (len(numbers) - length - 1) // stride + 1
        if self._count < 1:
            raise UsageError(
                f"text.length = {length}: expected at most {max(len(numbers) - 1, 0)}, as text.split = {split} has "
                f"{len(numbers)} tokens, of which a window takes one more for `y`"
            )
        self.vocabulary = tokens.vocabulary
        content = zlib.crc32(numbers, zlib.crc32((tokens.vocabulary or "").encode()))
        self.fingerprint = f"{len(numbers)} tokens ({content:08x}), windows of {length} every {stride}"

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the windows `x`, and `y`, which is one token further on."""
        starts = checked(rows, self._count) * self._stride
        found = self._numbers[starts[:, np.newaxis] + np.arange(self._length + 1)].astype(np.int32)
        return {"x": found[:, :-1].copy(), "y": found[:, 1:].copy()}


def of_bytes(files: Sequence[str]) -> Tokens:
    """Return the bytes of files; those of a single file stay in it."""
    try:
        if len(files) == 1 and os.path.getsize(files[0]):
            return Tokens(np.asarray(np.memmap(files[0], np.uint8, "r")), None)
        return Tokens(np.concatenate([np.fromfile(file, np.uint8) for file in files]), None)
    except OSError as error:
        raise _unreadable(files[0] if error.filename is None else error.filename, error) from error


def of_characters(files: Sequence[str]) -> Tokens:
    """Return the characters of files, as places in the sorted vocabulary of all of them."""
    points = np.concatenate([np.frombuffer(read(file).encode("utf-32-le"), np.uint32) for file in files])
    vocabulary = np.unique(points)
    numbers = np.searchsorted(vocabulary, points).astype(np.min_scalar_type(max(len(vocabulary) - 1, 0)))
    return Tokens(numbers, "".join(map(chr, vocabulary)))


def of_tokenizer(files: Sequence[str], tokenizer: Callable[[str], Sequence[int]]) -> Tokens:
    """Return what a tokenizer makes of each file, one after the other."""
    numbers = np.concatenate([_tokenized(file, tokenizer) for file in files])
    return Tokens(numbers.astype(np.min_scalar_type(numbers.max(initial=0))), None)


def _tokenized(file: str, tokenizer: Callable[[str], Sequence[int]]) -> np.ndarray:
    found = np.asarray(tokenizer(read(file)))
    if found.ndim == 1 and found.size == 0:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= 2**31:
        raise UsageError(
            f"text.tokenizer: expected a sequence of token numbers from 0 to 2**31 - 1 of {file!r}, got {found.dtype} of shape "
            f"{found.shape}; return the numbers alone, as in lambda text: tokenizer.encode(text).ids"
        )
    return found


def read(file: str) -> str:
    """Return the text of a file.

    Raises:
      UsageError: it cannot be read, or it isn't UTF-8.
    """
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            return opened.read()
    except OSError as error:
        raise _unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"text: {file!r} isn't UTF-8 ({error.reason}): convert it, or bind text.unit = 'bytes'"
        ) from error


def _unreadable(file: str, error: OSError) -> UsageError:
    return UsageError(f"text: {file!r} cannot be read ({error.strerror or error}); correct text.path")
