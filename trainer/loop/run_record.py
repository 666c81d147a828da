"""What a run leaves about itself in its folder: how it was started, with what, and why it ended."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf
from absl import logging

from ...metrics.atomic_file import replace_file
from ...metrics.writers.run_files import RECORD
from ...metrics.writers.summary import Ending
from ..distribution import workers
from ..errors import PreemptedError
from . import folder_lock

_PACKAGES = ("tallyloop", "tensorflow", "keras", "tensorboard", "gin-config", "absl-py", "numpy")


class RunFiles(Protocol):
    """The files that describe a run besides `run.json`, such as its config."""

    def changes(self, folder: Path) -> list[str]:
        """Return the differences from those of the previous run in the folder."""
        ...

    def texts(self) -> Mapping[str, str]:
        """Return name -> text."""
        ...

    def hparams(self) -> Mapping[str, bool | int | float | str]:
        """Return binding -> value of what is compared between runs."""
        ...


@contextlib.contextmanager
def recorded(model_dir: Path, files: RunFiles | None, outcome: Callable[[], str | None]) -> Iterator[RunRecord]:
    """On the chief, lock the folder, and record in it how the run was started and why it ended.

    Args:
      model_dir: the folder.
      files: what else describes the run.
      outcome: returns why the run ended before its last step, without an error; None if it did not.

    Raises:
      UsageError: the files cannot be written, or another run has the folder.
      OutputError: the disk is full.
    """
    record = RunRecord(model_dir, files)
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder_lock.claimed(model_dir))
        with folder_lock.first_write(model_dir):
            record.begin()
        try:
            for change in record.changes:
                print(f"Changed since the last run: {change}")
            yield record
        except BaseException as error:
            record.end(ending(error, None).reason)
            raise
        record.end(ending(None, outcome()).reason)


def ending(error: BaseException | None, outcome: str | None) -> Ending:
    """Return how a run ended: by an error, by an action with this outcome, or after its last step."""
    if error is None:
        return Ending("stopped", outcome) if outcome else Ending("done", "done")
    error = (workers.lost_worker(error) if isinstance(error, Exception) else None) or error
    interrupted = isinstance(error, PreemptedError | KeyboardInterrupt)
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Ending("interrupted" if interrupted else "failed", reason)


class RunRecord:
    """`run.json`, and the files besides it.

    `run.json` holds this attempt, and under "attempts" all of them, the oldest first: a rerun adds one, and changes none.

    Args:
      model_dir: the folder of the run, created by `begin`.
      files: what else describes the run.
    """

    def __init__(self, model_dir: Path, files: RunFiles | None):
        self._folder = model_dir
        self._files = files
        self.changes: Sequence[str] = ()  # of the config, since the attempt before
        self._record: dict[str, Any] = {}
        self._earlier: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Write the files, and the start of `run.json`.

        Raises:
          OSError: a file cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self.changes = self._files.changes(self._folder) if self._files else []
        for name, text in (self._files.texts() if self._files else {}).items():
            replace_file(self._folder / name, [text.encode()])
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
    def facts(self) -> Mapping[str, Any]:
        """The entries of `run.json` about this attempt."""
        return self._record

    @property
    def _path(self) -> Path:
        return self._folder / RECORD

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
