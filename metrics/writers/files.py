"""Rewriting a file so that a kill at any moment leaves the old one or the new one, whole."""

import os
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Atomically replaces the content of `path` by the chunks; on an error `path` is as before."""
    # One fixed name, so that what a kill leaves behind is overwritten next time. It must not be derived
    # from `path`: TensorBoard reads every file that has "tfevents" in its name.
    temporary = path.with_name(".rewrite.tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
