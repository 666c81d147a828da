"""The run folder: whether it can be written, and one run at a time in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from absl import logging

from ...metrics.errors import UsageError
from ...metrics.writers.run_files import LOCK
from ..errors import OutputError

_held: dict[Path, TextIO] = {}  # by this process, whose own locks do not exclude each other


@contextlib.contextmanager
def locked(model_dir: Path) -> Iterator[None]:
    """Keep other processes from training in `model_dir`. The lock ends with the process, however that ends.

    On a file system without locks it only warns that another run would go unnoticed.

    Raises:
      UsageError: another process holds the lock.
    """
    path = (model_dir / LOCK).resolve()
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _take(file, model_dir)
        _held[path] = file
        try:
            yield
        finally:
            _held.pop(path, None)


@contextlib.contextmanager
def claimed(model_dir: Path) -> Iterator[None]:
    """`locked`, for a run: in terms of `--model_dir` if the folder cannot be written.

    Raises:
      UsageError: another process holds the lock, or the folder cannot be written.
      OutputError: the disk is full.
    """
    with contextlib.ExitStack() as stack:
        with first_write(model_dir):
            stack.enter_context(locked(model_dir))
        yield


def is_held(model_dir: Path) -> bool:
    """Return whether this process holds the lock of `model_dir`, and so may write there."""
    return (model_dir / LOCK).resolve() in _held


def _take(file: TextIO, model_dir: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "another process"
        raise UsageError(
            f"--model_dir={model_dir} is in use by another run ({owner}): wait for it, stop it, or choose another folder."
        ) from error
    except OSError as error:
        logging.warning(
            "%s cannot be locked (%s): two runs in this folder would go unnoticed, so make sure that there is only one.",
            file.name,
            error.strerror,
        )
        return
    file.truncate(0)
    file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
    file.flush()


def _leave_to_parent() -> None:
    """In a forked child, close the files: a lock lasts while any process has its file open.

    A child that outlives a killed run would otherwise keep the folder locked.
    """
    while _held:
        _held.popitem()[1].close()


os.register_at_fork(after_in_child=_leave_to_parent)


def check_writable(model_dir: Path) -> None:
    """Check that `model_dir` can be created and written, without creating it.

    Raises:
      UsageError: it cannot.
    """
    folder = model_dir
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"--model_dir={model_dir}: {folder} is a file, not a folder. Choose another folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--model_dir={model_dir}: {folder} cannot be written. Choose another folder.")


@contextlib.contextmanager
def first_write(model_dir: Path) -> Iterator[None]:
    """Report a failed write in terms of `--model_dir`: some folders turn out to be unwritable only when written to.

    Raises:
      OutputError: the disk is full. That is not a usage error, and the folder may hold a run to continue.
      UsageError: the folder cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"--model_dir={model_dir} cannot be written ({error.strerror}). Free some space, and run the same command."
            ) from error
        raise UsageError(
            f"--model_dir={model_dir} cannot be written ({error.strerror}): choose another folder."
        ) from error
