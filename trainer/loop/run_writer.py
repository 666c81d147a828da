"""What a run writes below its `model_dir`."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from ...metrics.writers import AsyncWriter, JsonlWriter, MultiWriter, Summary, TensorBoardWriter
from ..checkpointing.folder import CheckpointFolder
from ..checkpointing.retention import Retention
from ..checkpointing.saver import Saver
from ..errors import OutputError

CHECKPOINTS = "checkpoints"  # the folder below the model_dir


class Outputs:
    """The event files, `metrics.jsonl` and the checkpoints of a run.

    A metric that cannot be written never costs a checkpoint: the error is kept, and raised once the next one is saved.

    Args:
      model_dir: the run's folder.
      state: what a checkpoint holds.
      retention: which checkpoints stay.
    """

    def __init__(self, model_dir: Path, state: tf.train.Checkpoint, retention: Retention):
        self._folder = model_dir
        self._tensorboard = TensorBoardWriter(model_dir)
        self._jsonl = JsonlWriter(model_dir / "metrics.jsonl")
        self._writers = AsyncWriter(MultiWriter([self._jsonl, self._tensorboard]))
        self._saver = Saver(state, CheckpointFolder(model_dir / CHECKPOINTS), retention)
        self._error: OSError | None = None
        self._resumed_at = -1  # the step

    def resume_at(self, step: int, needed: int) -> None:
        """After a restore: drops the points past `step`, which will be computed again, and ends what a kill left undone."""
        self._resumed_at = step
        self._jsonl.truncate_after(step)
        self._tensorboard.truncate_after(step)
        self._saver.tidy(step, needed)

    def write(self, summary: Summary) -> None:
        """Takes a summary."""
        if summary.step > self._resumed_at:
            self._keep_error(lambda: self._writers.write(summary))
        else:  # of an evaluation that is made up for: `--mode=eval` may have written it already
            self._keep_error(lambda: [writer.upsert(summary) for writer in (self._jsonl, self._tensorboard)])

    @property
    def failing(self) -> bool:
        """Whether a metric could not be written: save now, and the error will be raised."""
        return self._error is not None

    def save(self, step: int, needed: int) -> None:
        """Saves the run as it is after `step`, in the background; the checkpoint of the step `needed` stays.

        Raises:
          CheckpointError: the checkpoint before could not be written.
          OutputError: the metrics could not be written; this checkpoint is.
        """
        # Points before the checkpoint: a rerun drops points past a checkpoint, but cannot make up for lost ones.
        self._keep_error(self._writers.flush)
        self._saver.save(step, needed)
        if self._error is not None:
            self._saver.settle()
            raise OutputError(
                f"The metrics cannot be written to {self._folder} ({self._error}). The checkpoint of step {step} is saved: "
                "mend that, and run the same command."
            ) from self._error

    def check(self) -> None:
        """Raises what went wrong in the background, if it is known already."""
        self._saver.check()

    def settle(self) -> None:
        """Returns when all checkpoints are written; raises what went wrong."""
        self._saver.settle()

    def close(self) -> None:
        """Writes what is left, and closes."""
        try:
            self._saver.close()
        finally:
            self._writers.close()

    def _keep_error(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            self._error = self._error or error


class Nowhere(io.TextIOBase):
    """A stream that drops what is written to it: the console of the workers that are not the chief."""

    def write(self, text: str) -> int:
        """Drops `text`."""
        return len(text)
