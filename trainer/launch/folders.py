"""Whether a run can write where it is going to write: said before it starts, not after hours of training."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...metrics.errors import UsageError
from ..errors import OutputError
from ..loop.folder_lock import check_writable

_FOLDERS = {
    "train_and_eval": ("checkpoints", "train", "eval"),
    "train": ("checkpoints", "train"),
    "eval": ("eval",),
    "predict": ("predictions",),
    "export": ("export",),
}
_FILES = ("config.gin", "metrics.jsonl", "operative_config.gin", "run.json")


def check(model_dir: Path, mode: str) -> None:
    """Checks what is in the way below `model_dir`; nothing that it writes stays.

    Raises:
      UsageError: `model_dir`, or what the mode writes below it, cannot be written.
      OutputError: the disk is full.
    """
    check_writable(model_dir)
    for path in (model_dir / name for name in _FOLDERS[mode]):
        if os.path.lexists(path) and not path.is_dir():
            raise UsageError(
                f"--model_dir={model_dir}: {path} is not a folder. Move it away, or choose another folder."
            )
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"--model_dir={model_dir}: {path} cannot be written. Choose another folder.")
    for path in (model_dir / name for name in _FILES):
        if path.is_dir():
            raise UsageError(f"--model_dir={model_dir}: {path} is a folder. Move it away, or choose another folder.")
    # The permissions do not tell all: not for root, and not of file systems such as /proc.
    with first_write(model_dir), tempfile.TemporaryDirectory(prefix=".tallyloop-", dir=_nearest(model_dir)):
        pass


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


@contextlib.contextmanager
def first_write(model_dir: Path) -> Iterator[None]:
    """Some folders show only when written to that they cannot be; says so in terms of the flag.

    Raises:
      OutputError: the disk is full, which is no mistake of the user's, and the folder may hold a run.
      UsageError: it cannot be written for another reason.
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
