"""Replacing a file so that a kill at any moment leaves the old content or the new, whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Replace the content of `path`, or create it, atomically.

    Args:
      path: the file, in a folder that exists.
      chunks: the new content, in order.

    Raises:
      OSError: the content cannot be written; `path` is as it was before.
    """
    with replacing(path) as file:
        file.writelines(chunks)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file whose content replaces that of `path`, or creates it, atomically at the end of the context.

    The new content is on the disk before it takes the place of the old.

    Args:
      path: the file, in a folder that exists.

    Raises:
      OSError: the content cannot be written; `path` is as it was before, as after any other error.
    """
    # The name is fixed, so that the next replacement overwrites what a kill left behind. It must not contain "tfevents":
    # TensorBoard reads every file whose name does.
    temporary = path.with_name(f".{path.name.replace('tfevents', 'events')}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
