"""One run at a time in one folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ..metrics.errors import UsageError

_NAME = "run.lock"
_held: set[Path] = set()  # by this process, whose own locks do not exclude each other


@contextlib.contextmanager
def held(model_dir: Path) -> Iterator[None]:
    """Within it, no other process trains in `model_dir`. The lock ends with the process, however that ends.

    Raises:
      UsageError: another process has it.
    """
    path = (model_dir / _NAME).resolve()
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _take(file, model_dir)
        _held.add(path)
        try:
            yield
        finally:
            _held.remove(path)


def _take(file, model_dir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip() or "another process"
        raise UsageError(
            f"--model_dir={model_dir} is in use by another run ({owner}): wait for it, stop it, or choose another folder."
        ) from error
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
