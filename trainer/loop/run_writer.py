"""What a run writes to its `model_dir`: event files, metrics.jsonl and checkpoints."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from ...metrics.dashboard.dashboard import Dashboard
from ...metrics.errors import UsageError
from ...metrics.writers import AsyncWriter, JsonlWriter, MultiWriter, Summary, TensorBoardWriter, Writer
from ...metrics.writers.outside.isolated import OutsideWriters
from ...metrics.writers.run_files import CHECKPOINTS, METRICS
from ...metrics.writers.summary import RunDescription, dump, load
from ..checkpointing.folder import CheckpointFolder
from ..checkpointing.retention import Retention
from ..checkpointing.saver import Saver
from ..checkpointing.state import RunState
from ..errors import OutputError
from .run_record import ending

_UNWRITTEN = "TALLYLOOP_UNWRITTEN"  # in a checkpoint's files, beside the state: summaries that could not be written
# Of the summaries since the last checkpoint, more than the background thread has waiting when the first one fails.
_MOST_UNWRITTEN = 256


class RunWriter:
    """Writes the event files, `metrics.jsonl` and the checkpoints of a run. A context manager: it closes them.

    A metric that cannot be written never costs a checkpoint: the error is kept, and raised once the next one is saved. That one
    holds the summaries since the one before, and a rerun writes those that are missing.

    Args:
      model_dir: the run folder.
      state: what a checkpoint holds.
      retention: which checkpoints are kept.
      describe: returns what the run is, once it is restored.
      outcome: returns why the run ended before its last step, without an error; None if it did not.
      outside: are given the summaries, too; nothing depends on them.
    """

    saves = True

    def __init__(
        self,
        model_dir: Path,
        state: RunState,
        retention: Retention,
        describe: Callable[[], RunDescription],
        outcome: Callable[[], str | None],
        outside: Sequence[Writer] = (),
    ):
        self._folder = model_dir
        self._checkpoints = CheckpointFolder(model_dir / CHECKPOINTS)
        self._saver = Saver(state.checkpoint(), self._checkpoints, retention)
        self._tensorboard = TensorBoardWriter(model_dir, retention.best.side)
        self._jsonl = JsonlWriter(model_dir / METRICS)
        self._dashboard = Dashboard(model_dir)
        self._writers = AsyncWriter(MultiWriter([self._jsonl, self._tensorboard, self._dashboard]))
        self._outside = OutsideWriters(outside)
        self._describe, self._outcome = describe, outcome
        self._error: OSError | None = None
        self._unwritten: collections.deque[Summary] = collections.deque(maxlen=_MOST_UNWRITTEN)  # since the last flush
        self._resumed_at = -1  # the step

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._saver.close()
        finally:
            try:
                self._end(error)
                self._writers.close()
            finally:
                self._outside.end(ending(error, self._outcome()))

    def resume(self, step: int, needed: int) -> None:
        """After a restore: drop the points past `step`, which will be computed again, and finish what was interrupted.

        Raises:
          OutputError: metrics that the last attempt could not write still cannot be written.
        """
        self._resumed_at = step
        self._jsonl.truncate_after(step)
        self._tensorboard.truncate_after(step)
        self._write_missing(step)
        self._saver.tidy(step, needed)
        run = self._describe()
        self._keep_error(lambda: self._writers.begin(run))
        self._outside.begin(run)

    def write(self, summary: Summary) -> None:
        """Write a summary in the background."""
        self._unwritten.append(summary)
        self._outside.write(summary)
        if summary.step > self._resumed_at:
            self._keep_error(lambda: self._writers.write(summary))
        else:  # of an evaluation that was still due: `--mode=eval` may have written it already
            self._keep_error(lambda: self._upsert(summary))

    def add(self, split: str, step: int, value: Any) -> None:
        """Write something else than a metric to the event files, after the summaries so far."""
        # Through the same files and in order: TensorBoard does not return to a file of a run after it has opened a later one.
        self._keep_error(self._writers.flush)
        self._keep_error(lambda: self._tensorboard.add(split, step, value))

    def arrange(self, charts: Mapping[str, Any], automatic: bool) -> None:
        """Arrange the charts of TensorBoard's Custom Scalars; see `Dashboard.arrange`."""
        self._keep_error(self._writers.flush)
        self._keep_error(lambda: self._dashboard.arrange(charts, automatic))

    def graph(self, graph_def: bytes) -> None:
        """Write a serialized `GraphDef`."""
        self._keep_error(self._writers.flush)
        self._keep_error(lambda: self._dashboard.graph(graph_def))

    def failing(self) -> bool:
        """Return whether a metric could not be written: save now, and the error will be raised.

        Raises:
          CheckpointError: the last checkpoint could not be written.
        """
        self._saver.check()
        return self._error is not None

    def save(self, step: int, needed: int) -> None:
        """Save the run as it is after `step`, in the background; the checkpoint of the step `needed` is kept.

        Raises:
          CheckpointError: the checkpoint before could not be written.
          OutputError: the metrics could not be written; this checkpoint is.
        """
        # Points before the checkpoint: a rerun drops points past a checkpoint, but cannot recover lost ones.
        self._keep_error(self._writers.flush)
        if self._error is None:
            self._unwritten.clear()
        self._saver.save(step, needed, {_UNWRITTEN: dump([*self._unwritten])} if self._unwritten else {})
        if self._error is not None:
            self._saver.settle()
            raise OutputError(
                f"The metrics cannot be written to {self._folder} ({self._error}). The checkpoint of step {step} is saved, and "
                "holds them: fix that, and rerun the same command, which writes them."
            ) from self._error

    def settle(self) -> None:
        """Return once all checkpoints are written; raises an error of the background thread."""
        self._saver.settle()

    def _end(self, error: BaseException | None) -> None:
        """Write how the run ended. A failure to write is only logged: it must not hide how the run ended."""
        try:
            self._writers.flush()  # raises errors of the metrics, which are not those of what follows
        finally:
            try:
                self._writers.end(ending(error, self._outcome()))
                self._writers.flush()
            except OSError as unwritten:
                logging.warning("TensorBoard's files in %s do not say how this run ended: %s", self._folder, unwritten)

    def _write_missing(self, step: int) -> None:
        if step not in self._checkpoints.steps():
            return
        reader = tf.train.load_checkpoint(str(self._checkpoints.prefix(step)))
        missing = load(reader.get_tensor(_UNWRITTEN)) if reader.has_tensor(_UNWRITTEN) else []
        try:
            for summary in missing:
                self._upsert(summary)
        except OSError as error:
            raise OutputError(
                f"The metrics still cannot be written to {self._folder} ({error}). The checkpoint of step {step} holds those "
                "that are missing: fix that, and rerun the same command."
            ) from error

    def _upsert(self, summary: Summary) -> None:
        for writer in (self._jsonl, self._tensorboard):
            writer.upsert(summary)

    def _keep_error(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as error:
            self._error = self._error or error


def run_writer(
    model_dir: Path | None,
    state: RunState,
    retention: Retention,
    describe: Callable[[], RunDescription] | None,
    outcome: Callable[[], str | None],
    outside: Sequence[Writer] = (),
) -> RunWriter | NullWriter:
    """Return what writes a run: to nothing without a `model_dir`, or without `describe`, as on workers other than the chief.

    The arguments are those of `RunWriter`.

    Raises:
      UsageError: there are writers, and no `model_dir`.
    """
    if outside and model_dir is None:
        raise UsageError("Trainer.writers: expected a model_dir with them, from which a rerun continues.")
    if model_dir is None or describe is None:
        return NullWriter(saves=model_dir is not None)
    return RunWriter(model_dir, state, retention, describe, outcome, outside)


class NullWriter(contextlib.AbstractContextManager["NullWriter", None]):
    """Stands in for a `RunWriter` where nothing is written: without a `model_dir`, or on a worker that isn't the chief.

    Args:
      saves: whether the run is saved by another worker, so that this one has to take part.
    """

    def __init__(self, saves: bool):
        self.saves = saves

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def resume(self, step: int, needed: int) -> None:
        """Do nothing."""

    def write(self, summary: Summary) -> None:
        """Do nothing."""

    def add(self, split: str, step: int, value: Any) -> None:
        """Do nothing."""

    def arrange(self, charts: Mapping[str, Any], automatic: bool) -> None:
        """Do nothing."""

    def graph(self, graph_def: bytes) -> None:
        """Do nothing."""

    def failing(self) -> bool:
        """Return False."""
        return False

    def save(self, step: int, needed: int) -> None:
        """Do nothing."""

    def settle(self) -> None:
        """Do nothing."""
