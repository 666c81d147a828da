"""Saving checkpoints in the background."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

import tensorflow as tf
from absl import logging

from ...data.messages.failures import reason
from ..errors import CheckpointError
from .folder import CheckpointFolder
from .retention import Retention
from .snapshot import Snapshots, write
from .state import Checkpoint

T = TypeVar("T")
_LOWER = 10  # in steps of `nice`: a tenth of the share of a core
_RETRY_AFTER = (1.0, 4.0, 16.0)  # seconds; a full disk is often being cleared


class Saver:
    """Takes a snapshot of a run's state, and writes it while training goes on; one at a time.

    It takes one when it is made, so that a state that cannot be saved is an error before the first step.

    Args:
      state: the state to save; all its variables exist.
      folder: the folder to save it to.
      retention: which checkpoints are kept.

    Raises:
      UsageError: something in the state cannot be saved.
    """

    def __init__(self, state: Checkpoint, folder: CheckpointFolder, retention: Retention):
        self._snapshots = Snapshots(state)
        self._snapshots.take()
        self._folder = folder
        self._retention = retention
        self._pool = ThreadPoolExecutor(1, "tallyloop-saver", _yield_to_training)
        self._writing: Future | None = None

    def tidy(self, step: int, needed: int) -> None:
        """At the start of a run at `step`: write and delete what its last save may have left undone."""
        if step in self._folder.steps():
            self._retention.apply(self._folder, step, self._retention.record(), needed)

    def save(self, step: int, needed: int = -1, beside: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Take a snapshot, to become the checkpoint of `step`. Waits until the one before is written.

        Args:
          step: the steps done.
          needed: the step of a checkpoint that must be kept.
          beside: key in the files -> what to write beside the state.

        Raises:
          CheckpointError: the one before could not be written.
        """
        self.settle()
        record = self._retention.record()
        snapshot = {**self._snapshots.take(), **{key: tf.constant(text) for key, text in beside.items()}}
        self._writing = self._pool.submit(self._insist, step, lambda: self._write(step, snapshot, record, needed))

    def check(self) -> None:
        """Raise an error of the background thread, if one has occurred."""
        if self._writing is not None and self._writing.done():
            self.settle()

    def settle(self) -> None:
        """Return once everything is written.

        Raises:
          CheckpointError: the checkpoint could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Write what is left, and end the thread."""
        try:
            self.settle()
        finally:
            self._pool.shutdown()

    def _write(self, step: int, snapshot: dict[str, tf.Tensor], record: dict[str, Any] | None, needed: int) -> None:
        self._folder.add(step, lambda prefix: write(snapshot, prefix))
        self._retention.apply(self._folder, step, record, needed)

    def _insist(self, step: int, action: Callable[[], T]) -> T:
        """Call `action`; retry a few times, with growing delays, if the disk fails."""
        for delay in (*_RETRY_AFTER, None):
            try:
                return action()
            except (OSError, tf.errors.OpError) as error:
                problem = f"The checkpoint of step {step} cannot be written to {self._folder.path}: {_reason(error)}."
                if delay is None:
                    raise CheckpointError(
                        f"{problem} {self._newest()} Free some space, and rerun the same command."
                    ) from error
                logging.warning("%s %s Retrying in %g s.", problem, self._newest(), delay)
                time.sleep(delay)
        raise AssertionError("unreachable")

    def _newest(self) -> str:
        steps = self._folder.steps()
        return f"The newest checkpoint is still that of step {steps[-1]}." if steps else "There is no checkpoint yet."


def _yield_to_training() -> None:
    """Lower the priority of the calling thread for good: training needs all cores.

    Not to the lowest: on a busy machine, the last save of a preempted run would take too long.
    """
    if sys.platform != "linux":  # elsewhere, the priority is that of the whole process
        return
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _LOWER)
    except OSError as error:  # some containers forbid it
        logging.warning("Training may be slower while a checkpoint is written: no lower priority (%s).", error)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
