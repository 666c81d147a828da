"""The IDX format, which MNIST and its relatives use.

Two zero bytes, a type code, the number of dimensions, as many big-endian uint32 sizes, then the numbers, big-endian
too. Source: Yann LeCun's MNIST page, "The IDX file format".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib

import numpy as np

from ...metrics.errors import UsageError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str], binding: str) -> np.ndarray:
    """Return the array of an IDX file in the machine's byte order.

    Args:
      path: the file, gzipped or not: its content tells.
      binding: the binding that named it, for messages.

    Raises:
      UsageError: the file cannot be read, or does not match its header exactly.
    """
    origin = f"idx: {os.fspath(path)!r}"
    content = _unzipped(origin, _content(origin, path, binding))
    dtype, sizes = _header(origin, content)
    start = 4 + 4 * len(sizes)
    expected, got = math.prod(sizes) * dtype.itemsize, len(content) - start
    if got != expected:
        problem = "is truncated" if got < expected else "has bytes after its end"
        raise UsageError(
            f"{origin} {problem}: expected {expected} bytes after the header, which says {sizes} of {dtype.name}, got "
            f"{got}; download it again"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(sizes).astype(dtype.newbyteorder("="))


def _content(origin: str, path: str | os.PathLike[str], binding: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"{origin} cannot be read ({error.strerror}); correct {binding}") from error


def _unzipped(origin: str, content: bytes) -> bytes:
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"{origin} is damaged: it starts like gzip but cannot be unzipped ({error}); download it again"
        ) from error


def _header(origin: str, content: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    if len(content) < 4:
        raise UsageError(f"{origin} is truncated: expected a header of 4 bytes, got {len(content)} bytes")
    zeros, code, dimensions = content[:2], content[2], content[3]
    if zeros != b"\0\0" or code not in _DTYPES or dimensions == 0:
        raise UsageError(
            f"{origin} isn't an IDX file: expected it to start with 00 00, a type of "
            f"{', '.join(f'{known:02x}' for known in _DTYPES)} and the number of dimensions, got "
            f"{content[:4].hex(' ')}"
        )
    if len(content) < 4 + 4 * dimensions:
        raise UsageError(
            f"{origin} is truncated: expected {dimensions} sizes in its header, {4 + 4 * dimensions} bytes, got "
            f"{len(content)}; download it again"
        )
    return np.dtype(_DTYPES[code]), struct.unpack_from(f">{dimensions}I", content, 4)
