"""Whether a folder can be written; without TensorFlow, as it is looked at before that is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from ..metrics.errors import UsageError


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
