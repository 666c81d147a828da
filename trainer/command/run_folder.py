"""The folder of a run: whether it can be written, who may train in it, and the files that describe the run.

What is in the way is reported before the run starts, not after hours of training.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from .. import config as configs
from ..distribution import preemption
from ..errors import OutputError, PreemptedError
from ..loop import folder_lock
from .flags import Mode

if TYPE_CHECKING:
    import tensorflow as tf

_FOLDERS: dict[Mode, tuple[str, ...]] = {
    "train_and_eval": ("checkpoints", "train", "eval"),
    "train": ("checkpoints", "train"),
    "eval": ("eval",),
    "predict": ("predictions",),
    "export": ("export",),
}
_FILES = ("config.gin", "metrics.jsonl", "operative_config.gin", "run.json")
_PACKAGES = ("tallyloop", "tensorflow", "keras", "tensorboard", "gin-config", "absl-py", "numpy")


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
    for path in (model_dir / name for name in _FILES):
        if path.is_dir():
            raise UsageError(f"--model_dir={model_dir}: {path} is a folder. Move it away, or choose another folder.")
    # Permissions are not the whole truth: root ignores them, and so do file systems such as /proc.
    with first_write(model_dir), tempfile.TemporaryDirectory(prefix=".tallyloop-", dir=_existing_parent(model_dir)):
        pass


def _existing_parent(folder: Path) -> Path:
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


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
        with first_write(model_dir):
            stack.enter_context(folder_lock.locked(model_dir))
    except UsageError as error:
        return str(error)
    return None


@contextlib.contextmanager
def recorded(
    config: configs.Config, model_dir: Path, strategy: tf.distribute.Strategy, outcome: Callable[[], str | None]
) -> Iterator[None]:
    """Record in the folder how the run was started and why it ended; only the chief does, and holds the lock meanwhile.

    Args:
      config: the loaded config.
      model_dir: the folder.
      strategy: tells who is the chief.
      outcome: returns why the run ended before its last step, without an error; None if it did not.

    Raises:
      UsageError: the files cannot be written, or another run has the folder.
      OutputError: the disk is full.
    """
    from ..distribution import workers

    if not workers.is_chief(strategy):
        yield
        return
    record = RunRecord(model_dir, config)
    with contextlib.ExitStack() as stack:
        with first_write(model_dir):
            stack.enter_context(folder_lock.locked(model_dir))
            changes = record.changes()
            record.begin()
        try:
            for change in changes:
                print(f"Changed since the last run: {change}")
            yield
        except BaseException as error:
            record.end(f"{type(error).__name__}: {error}".removesuffix(": "))
            raise
        record.end(outcome() or "done")


class RunRecord:
    """The files that describe a run: config.gin, operative_config.gin, run.json.

    `run.json` holds this attempt, and under "attempts" all of them, the oldest first: a rerun adds one, and changes none.

    Args:
      model_dir: the folder of the run, created by `begin`.
      config: the loaded config.
    """

    def __init__(self, model_dir: Path, config: configs.Config):
        self._folder = model_dir
        self._config = config
        self._record: dict[str, Any] = {}
        self._earlier: list[dict[str, Any]] = []

    def changes(self) -> list[str]:
        """Return the differences from the config of the previous run in this folder; empty if there was none."""
        previous = self._folder / "config.gin"
        return configs.diff(previous.read_text(), configs.as_given(self._config)) if previous.exists() else []

    def begin(self) -> None:
        """Write the configs, as given and as used, and the start of `run.json`.

        Raises:
          OSError: a file cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._folder / "config.gin", [configs.as_given(self._config).encode()])
        replace_file(self._folder / "operative_config.gin", [configs.operative(self._config).encode()])
        self._earlier = _attempts(self._path)
        self._record = _start_record()
        self._write()

    def end(self, reason: str) -> None:
        """Write when and why the run ended. A failure to write is only logged: it must not hide how the run ended."""
        self._record.update(end=_now(), exit_reason=reason)
        try:
            self._write()
        except OSError as error:
            logging.warning(
                "%s cannot be written (%s): it does not say how this run ended.", self._path, error.strerror
            )

    @property
    def _path(self) -> Path:
        return self._folder / "run.json"

    def _write(self) -> None:
        record = {**self._record, "attempts": [*self._earlier, self._record]}
        replace_file(self._path, [json.dumps(record, indent=2).encode() + b"\n"])


def _attempts(path: Path) -> list[dict[str, Any]]:
    """Return the attempts that a `run.json` lists; one without a list, of an earlier version, is one attempt."""
    if not path.exists():
        return []
    try:
        record = json.loads(path.read_bytes())
        return record.pop("attempts", None) or [record]
    except (ValueError, AttributeError, TypeError):
        logging.warning("%s is damaged: the attempts that it listed are lost.", path)
        return []


def _start_record() -> dict[str, Any]:
    import tensorflow as tf

    return {
        "argv": sys.argv,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in _PACKAGES},
        "git_revision": _git_revision(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "start": _now(),
        "end": None,
        "exit_reason": None,
    }


def _git_revision() -> str | None:
    """Return the git revision of the working folder; None without git or a repository."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
