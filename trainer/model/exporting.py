"""The folder that a task exports to."""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import keras

from ...data import Input
from ..errors import OutputError
from ..task import Task
from ..user_code import called_as

_UNFINISHED = ".unfinished"


def export(task: Task, model: keras.Model, folder: Path, dataset: Input | None) -> None:
    """Let the task export the model, which replaces what it exported to the folder before.

    Args:
      task: its `export` may take the spec of a batch, or not.
      model: the trained model.
      folder: where to.
      dataset: gives the spec.

    Raises:
      OutputError: the folder cannot be written.
      UsageError: the model cannot be exported.
    """
    takes_spec = len(inspect.signature(task.export).parameters) > 2
    spec = [dataset.element_spec] if takes_spec and dataset is not None else []
    with replacing_folder(folder) as unfinished, called_as(task.export, "(model, folder)"):
        task.export(model, unfinished, *spec)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder, whose files and folders replace those of the same names in `folder` at the end of the context.

    After an error, or a kill, those in `folder` are as they were.
    """
    existed = folder.exists()
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)  # of an export that was killed
    try:
        (unfinished / "old").mkdir(parents=True)
        (unfinished / "new").mkdir()
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror or error}). Choose another folder.") from error
    try:
        yield unfinished / "new"
        for each in (unfinished / "new").iterdir():
            if (folder / each.name).is_dir():  # which cannot be replaced, only moved away
                os.replace(folder / each.name, unfinished / "old" / each.name)
            os.replace(each, folder / each.name)
    finally:
        shutil.rmtree(unfinished)
        if not existed:
            with contextlib.suppress(OSError):  # it isn't empty: all went well
                folder.rmdir()
