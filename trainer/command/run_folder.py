"""The folder of a run: whether it can be written, who may train in it, and its config in it.

What is in the way is reported before the run starts, not after hours of training.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...metrics.errors import UsageError
from ...metrics.writers import run_files
from .. import config as configs
from ..distribution import preemption
from ..errors import PreemptedError
from ..loop import folder_lock
from .request import Mode

if TYPE_CHECKING:
    import tensorflow as tf

_FOLDERS: dict[Mode, tuple[str, ...]] = {
    "train_and_eval": (run_files.CHECKPOINTS, "train", "eval"),
    "train": (run_files.CHECKPOINTS, "train"),
    "eval": ("eval",),
    "predict": (run_files.PREDICTIONS,),
    "export": ("export",),
    "replay": ("replay",),
}


def check(model_dir: Path, mode: Mode) -> None:
    """Check that a run can write below `model_dir`, without leaving anything there.

    Raises:
      UsageError: `model_dir`, or what the mode writes below it, cannot be written.
      OutputError: the disk is full.
    """
    folder_lock.check_writable(model_dir)
    for path in (model_dir / name for name in _FOLDERS[mode]):
        if os.path.lexists(path) and not path.is_dir():
            raise UsageError(
                f"--model_dir={model_dir}: {path} is not a folder. Move it away, or choose another folder."
            )
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"--model_dir={model_dir}: {path} cannot be written. Choose another folder.")
    for path in (model_dir / name for name in run_files.ALL):
        if path.is_dir():
            raise UsageError(f"--model_dir={model_dir}: {path} is a folder. Move it away, or choose another folder.")
    # Permissions are not the whole truth: root ignores them, and so do file systems such as /proc.
    with (
        folder_lock.first_write(model_dir),
        tempfile.TemporaryDirectory(prefix=".tallyloop-", dir=_existing_parent(model_dir)),
    ):
        pass


def _existing_parent(folder: Path) -> Path:
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


@contextlib.contextmanager
def exclusive(model_dir: Path, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Keep other runs from training in `model_dir`: all workers of a second run fail before they restore and trace.

    A folder that does not exist yet is created and locked later, by `recorded`, when nothing can be wrong any more.

    Raises:
      UsageError: another run has the folder.
      PreemptedError: a worker has been asked to stop.
    """
    from ..distribution import workers

    with contextlib.ExitStack() as stack:
        refusal = _lock(stack, model_dir) if workers.is_chief(strategy) and model_dir.exists() else None
        if refusal := workers.from_chief(strategy, refusal):
            raise UsageError(refusal)
        if workers.any_of(strategy, preemption.requested())[0]:
            raise PreemptedError("Stopped while starting.")
        yield


def _lock(stack: contextlib.ExitStack, model_dir: Path) -> str | None:
    """Lock the folder until `stack` is closed; return why that failed, or None."""
    try:
        stack.enter_context(folder_lock.claimed(model_dir))
    except UsageError as error:
        return str(error)
    return None


class ConfigFiles:
    """The config of a run in its folder: config.gin as given, operative_config.gin as used.

    Args:
      config: the loaded config.
    """

    def __init__(self, config: configs.Config):
        self._config = config

    def changes(self, folder: Path) -> list[str]:
        """Return the differences from the config of the previous run in the folder; empty if there was none."""
        previous = folder / run_files.CONFIG
        return configs.diff(previous.read_text(), configs.as_given(self._config)) if previous.exists() else []

    def hparams(self) -> dict[str, bool | int | float | str]:
        """Return binding -> value of what is compared between runs."""
        return configs.hparams(self._config)

    def texts(self) -> dict[str, str]:
        """Return name -> text of the files."""
        return {
            run_files.CONFIG: configs.as_given(self._config),
            run_files.OPERATIVE_CONFIG: configs.operative(self._config),
        }
