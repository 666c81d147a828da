"""What a run writes below its `model_dir`."""

from __future__ import annotations

import io
import os
from pathlib import Path

from ..metrics.errors import UsageError
from ..metrics.writers import AsyncWriter, JsonlWriter, MultiWriter, Summary, TensorBoardWriter


class RunWriters:
    """The event files and `metrics.jsonl` of a run.

    Args:
      model_dir: the run's folder.
    """

    def __init__(self, model_dir: Path):
        self._tensorboard = TensorBoardWriter(model_dir)
        self._jsonl = JsonlWriter(model_dir / "metrics.jsonl")
        self._all = AsyncWriter(MultiWriter([self._jsonl, self._tensorboard]))

    def rewind_to(self, step: int) -> None:
        """After a restore: drops the points past `step`, which will be computed again."""
        self._jsonl.truncate_after(step)
        self._tensorboard.truncate_after(step)

    def write(self, summary: Summary) -> None:
        """Takes a summary."""
        self._all.write(summary)

    def flush(self) -> None:
        """Returns when all is on disk."""
        self._all.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._all.close()


class Nowhere(io.TextIOBase):
    """A stream that drops what is written to it: the console of the workers that are not the chief."""

    def write(self, text: str) -> int:
        """Drops `text`."""
        return len(text)


def check_writable(model_dir: Path) -> None:
    """Checks that `model_dir` can be made and written, without making it.

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
