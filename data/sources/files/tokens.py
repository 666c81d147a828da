"""Text as one sequence of tokens, and its windows."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....metrics.errors import UsageError
from ..storage.rows import checked

_SAMPLE = 2**22  # the tokens at either end of a sequence that tell it from others
_CHUNK = 2**22  # the characters that are decoded at once
_CODE_POINTS = 0x110000


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
      tokens: the whole sequence; the path of a file for its bytes, which is memory-mapped.
      length: the tokens of a window.
      stride: from the start of a window to that of the next.
      split: the part of the sequence, as fractions.

    Raises:
      UsageError: the part is too short for a window.
    """

    def __init__(self, tokens: Tokens | Path, length: int, stride: int, split: tuple[float, float]):
        self._made_of = tokens, length, stride, split
        whole, vocabulary = (_mapped(tokens), None) if isinstance(tokens, Path) else tokens
        self.vocabulary: str | None = vocabulary
        start, end = (round(fraction * len(whole)) for fraction in split)
        self._numbers = numbers = whole[start:end]
        self._length, self._stride = length, stride
        self._count = (len(numbers) - length - 1) // stride + 1
        if self._count < 1:
            raise UsageError(
                f"text.length = {length}: expected at most {max(len(numbers) - 1, 0)}, as text.split = {split} has "
                f"{len(numbers)} tokens, of which a window takes one more for `y`"
            )
        content = zlib.crc32(numbers[-_SAMPLE:].data, zlib.crc32(numbers[:_SAMPLE].data))
        told = zlib.crc32((self.vocabulary or "").encode(), content)
        self.fingerprint: str = f"{len(numbers)} tokens ({told:08x}), windows of {length} every {stride}"

    def __reduce__(self) -> tuple[type[Windows], tuple[Tokens | Path, int, int, tuple[float, float]]]:
        return Windows, self._made_of  # another process maps the file itself

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the windows `x`, and `y`, which is one token further on."""
        starts = checked(rows, self._count) * self._stride
        found = self._numbers[starts[:, np.newaxis] + np.arange(self._length + 1)].astype(np.int32)
        return {"x": found[:, :-1].copy(), "y": found[:, 1:].copy()}


def of_bytes(files: Sequence[str]) -> Tokens | Path:
    """Return the bytes of files; those of a single file stay in it."""
    try:
        if len(files) == 1 and os.path.getsize(files[0]):
            open(files[0], "rb").close()
            return Path(files[0]).absolute()
        return Tokens(np.concatenate([np.fromfile(file, np.uint8) for file in files]), None)
    except OSError as error:
        raise _unreadable(files[0] if error.filename is None else error.filename, error) from error


def _mapped(file: Path) -> np.ndarray:
    return np.memmap(file, np.uint8, "r").view(np.ndarray)


def of_characters(files: Sequence[str]) -> Tokens:
    """Return the characters of files, as places in the sorted vocabulary of all of them."""
    used = np.zeros(_CODE_POINTS, bool)
    for file in files:
        for chunk in _chunks(file):
            used[_points(chunk)] = True
    vocabulary = np.flatnonzero(used)
    numbers = (np.cumsum(used) - 1).astype(np.min_scalar_type(max(len(vocabulary) - 1, 0)))
    parts = [numbers[_points(chunk)] for file in files for chunk in _chunks(file)]
    return Tokens(np.concatenate([numbers[:0], *parts]), "".join(map(chr, vocabulary.tolist())))


def _points(chunk: str) -> np.ndarray:
    return np.frombuffer(chunk.encode("utf-32-le"), np.uint32)


def of_tokenizer(files: Sequence[str], tokenizer: Callable[[str], Sequence[int]]) -> Tokens:
    """Return what a tokenizer makes of each file, one after the other."""
    numbers = np.concatenate([_tokenized(file, tokenizer) for file in files])
    return Tokens(numbers.astype(np.min_scalar_type(numbers.max(initial=0))), None)


def _tokenized(file: str, tokenizer: Callable[[str], Sequence[int]]) -> np.ndarray:
    found = np.asarray(tokenizer("".join(_chunks(file))))
    if found.ndim == 1 and found.size == 0:
        return found.astype(np.int64)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= 2**31:
        raise UsageError(
            f"text.tokenizer: expected a sequence of token numbers from 0 to 2**31 - 1 of {file!r}, got {found.dtype} of shape "
            f"{found.shape}; return the numbers alone, as in lambda text: tokenizer.encode(text).ids"
        )
    return found


def _chunks(file: str) -> Iterator[str]:
    """Yield the text of a file, a part at a time.

    Raises:
      UsageError: it cannot be read, or it isn't UTF-8.
    """
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            while chunk := opened.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise _unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"text: {file!r} isn't UTF-8 ({error.reason}): expected UTF-8; convert it, or bind text.unit = 'bytes'"
        ) from error


def _unreadable(file: str, error: OSError) -> UsageError:
    return UsageError(f"text: {file!r} cannot be read ({error.strerror or error}); correct text.path")
