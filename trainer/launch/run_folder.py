"""The files that describe a run: config.gin, operative_config.gin, run.json."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from absl import logging

from .. import config as configs


class RunFolder:
    """Writes what a run was started with and how it ended.

    Args:
      model_dir: the run's folder, made here.
      config: the loaded config.
    """

    def __init__(self, model_dir: Path, config: configs.Config):
        self._folder = model_dir
        self._config = config
        self._record: dict[str, Any] = {}

    def changes(self) -> list[str]:
        """What differs from the config of the run before in this folder; empty if there was none."""
        before = self._folder / "config.gin"
        return configs.diff(before.read_text(), configs.as_given(self._config)) if before.exists() else []

    def begin(self) -> None:
        """Writes the configs, as given and as used, and the start of `run.json`.

        Raises:
          OSError: they cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        _replace(self._folder / "config.gin", configs.as_given(self._config))
        _replace(self._folder / "operative_config.gin", configs.operative(self._config))
        self._record = _start_record()
        self._write_record()

    def end(self, reason: str) -> None:
        """Notes when and why the run ended. If that cannot be written, it is said: how the run ended stays as it is."""
        self._record.update(end=_now(), exit_reason=reason)
        try:
            self._write_record()
        except OSError as error:
            logging.warning("%s cannot be written (%s): how this run ended is not in it.", self._path, error.strerror)

    @property
    def _path(self) -> Path:
        return self._folder / "run.json"

    def _write_record(self) -> None:
        _replace(self._path, json.dumps(self._record, indent=2) + "\n")


def _start_record() -> dict[str, Any]:
    import tensorflow as tf

    packages = ("tallyloop", "tensorflow", "keras", "tensorboard", "gin-config", "absl-py", "numpy")
    return {
        "argv": sys.argv,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "git_revision": _git_revision(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "start": _now(),
        "end": None,
        "exit_reason": None,
    }


def _git_revision() -> str | None:
    """The revision of the working folder; None where there is no git, or no repository."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _replace(path: Path, text: str) -> None:
    """Writes the whole file or nothing of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)
