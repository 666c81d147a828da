"""The source `text`: windows of tokens, or lines, of text files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import gin

from ....metrics.errors import UsageError
from ...checks import one_of, whole_number
from ..storage.files import matching
from .lines import Lines
from .tokens import Tokens, Windows, of_bytes, of_characters, of_tokenizer

Unit = Literal["characters", "bytes", "lines"]


@gin.register(module="tallyloop")
def text(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    length: int | None = None,
    stride: int | None = None,
    split: tuple[float, float] | None = None,
    unit: Unit = "characters",
    tokenizer: Callable[[str], Sequence[int]] | None = None,
) -> Windows | Lines:
    """Return text files as windows of tokens for a language model, or as lines, by row number.

    Args:
      path: a file, a pattern such as "/data/*.txt", or a list of these; UTF-8 unless the unit is "bytes". The files are one
        sequence, in the order of the list, and within a pattern by name.
      length: the tokens of a window; none for lines.
      stride: from the start of a window to that of the next; None for `length`. Tokens at the end that are too few for a
        window are left out.
      split: the part of the sequence, as two fractions: (0.0, 0.9) for training and (0.9, 1.0) for evaluation have no token
        in common. None for all of it.
      unit: "characters", "bytes" or "lines". Characters are numbered by their place in the source's `vocabulary`: the sorted
        characters of all files, whatever the split.
      tokenizer: text -> its token numbers, called once for each file; it replaces the unit "characters".

    Returns:
      Rows of `x`, int32 (length,), and `y`, the same one token further; or of `text`, a line without its end. Tokens are kept
      in memory, in one to four bytes each, except those of a single file of bytes; lines are read from the files.

    Raises:
      UsageError: an argument is not as described, nothing matches, a file isn't UTF-8, or the text is too short.
    """
    kind = one_of("text.unit", unit, get_args(Unit))
    files, part = matching("text.path", path), _split(split)
    if tokenizer is not None and (kind != "characters" or not callable(tokenizer)):
        raise UsageError(
            f"text.tokenizer = {tokenizer!r}: expected a function, with text.unit = 'characters', got {kind!r}"
        )
    if kind == "lines":
        if length is not None or stride is not None:
            raise UsageError(
                "text.unit = 'lines': expected neither text.length nor text.stride, which cut windows; unbind them"
            )
        return Lines(files, part)
    width = whole_number("text.length", length, least=1)
    step = width if stride is None else whole_number("text.stride", stride, least=1)
    return Windows(_tokens(files, kind, tokenizer), width, step, part)


@gin.register(module="tallyloop")
def python_sources() -> list[str]:
    """Return the modules of Python's standard library, about 5 MB of text that is on every machine."""
    return sorted(str(path) for path in Path(os.__file__).parent.glob("*.py"))


def _tokens(files: list[str], kind: Unit, tokenizer: Callable[[str], Sequence[int]] | None) -> Tokens | Path:
    if tokenizer is not None:
        return of_tokenizer(files, tokenizer)
    return of_bytes(files) if kind == "bytes" else of_characters(files)


def _split(split: object) -> tuple[float, float]:
    if split is None:
        return 0.0, 1.0
    match split:
        case [int() | float() as start, int() | float() as end] if 0 <= start < end <= 1:
            return start, end
    raise UsageError(
        f"text.split = {split!r}: expected two fractions from 0 to 1, the first smaller, such as (0.0, 0.9)"
    )
