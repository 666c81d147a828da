"""What to do when the loss or a gradient isn't finite: name it, and stop or roll back."""

from __future__ import annotations

import time

import tensorflow as tf
from absl import logging

from ...metrics.device.accumulator import Drained
from ...metrics.writers import Summary
from ..checkpointing.folder import CheckpointFolder
from ..checkpointing.restore import check_intact, newest_usable
from ..distribution import workers
from ..errors import NonFiniteError
from ..step.update import UpdateSettings
from .console import command_line
from .summaries import replicas_named
from .train_session import TrainSession


class Rollbacks:
    """Goes back to the weights of the last checkpoint, a limited number of times in a row.

    The weights before a step that isn't finite are often bad already. They are therefore not kept: the weights and the
    optimizer of the last checkpoint that was due are restored, and training continues with the batch after the bad one.
    Steps and data don't go back. A checkpoint that was made because the run was stopped doesn't count, or stopping the run
    would change its result.

    Args:
      strategy: its workers go back together.
      folder: the checkpoints; None if there are none.
      settings: the number of rollbacks allowed until an update is finite again, and the steps per update.
    """

    def __init__(self, strategy: tf.distribute.Strategy, folder: CheckpointFolder | None, settings: UpdateSettings):
        self.allowed: int = settings.allowed_rollbacks
        self._strategy = strategy
        self._folder = folder
        self._settings = settings
        self._since: int | None = None  # the step after which an update must be finite; None if there was no rollback

    def go_back(self, session: TrainSession) -> None:
        """Go back; all checkpoints are written.

        Raises:
          NonFiniteError: it went back too often already, or there is nothing to go back to.
        """
        what, progress = describe(session, self._settings), session.progress
        if progress.rollbacks >= self.allowed:
            raise non_finite_error(session, what, self._settings)
        progress.rollbacks += 1
        step = self._agreed_target(session, what)
        session.roll_back(str(self._checkpoints.prefix(step)))
        self._since = progress.step
        logging.warning("%s Rolled back to the weights of step %d; that batch is skipped.", what, step)

    def resume(self, session: TrainSession) -> None:
        """Continue counting, at the start of a run."""
        self._since = session.progress.step if session.progress.rollbacks else None

    def forgive(self, session: TrainSession, step: int) -> None:
        """Restart the count if there was an update among the finite steps up to `step`."""
        every = self._settings.gradient_accumulation
        if self._since is not None and step // every > self._since // every:
            self._since, session.progress.rollbacks = None, 0

    @property
    def _checkpoints(self) -> CheckpointFolder:
        assert self._folder is not None, "rollbacks need a model_dir, which the Trainer checks"
        return self._folder

    def _agreed_target(self, session: TrainSession, what: str) -> int:
        mine = self._target(session, what) if workers.is_chief(self._strategy) else None
        return int(workers.from_chief(self._strategy, mine))

    def _target(self, session: TrainSession, what: str) -> str:
        """Return the last checkpoint that was due or, if that is damaged, the newest undamaged one before it."""
        due = session.progress.last_due_checkpoint
        folder = self._checkpoints
        step = newest_usable(folder, [step for step in folder.steps() if step <= due], check_intact)
        if step is None:
            raise non_finite_error(session, f"{what} There is no checkpoint to go back to.", self._settings)
        return str(step)


def describe(session: TrainSession, settings: UpdateSettings) -> str:
    """Describe what isn't finite at the step where the loop has stopped, and where its batch is."""
    step, every = session.progress.step, settings.gradient_accumulation
    steps = f"Step {step + 1}" if every == 1 else f"Steps {_update_start(step, settings) + 1} to {step + 1}"
    skipped = f", after {settings.allowed_skips} skipped updates in a row" if settings.allowed_skips else ""
    return f"{steps}: not finite: {_named(session.drain())}{skipped}. The batch: {session.feed.describe(step)}."


def non_finite_error(session: TrainSession, what: str, settings: UpdateSettings) -> NonFiniteError:
    """Return the error to raise, given what `describe` said."""
    return _error(
        session, what, settings, f" To look at the step: {_replay(session.strategy, session.progress.step + 1)}"
    )


def try_step(session: TrainSession, settings: UpdateSettings) -> Summary:
    """Run one step, and all of a save but the writing; return the summary of the step.

    Raises:
      UsageError: something in the state cannot be saved.
      NonFiniteError: the loss or a gradient isn't finite.
    """
    started = time.monotonic()
    if not session.loop.run(session.progress.step, 1):
        raise _error(session, describe(session, settings), settings)
    session.try_snapshot()
    return session.summarize(session.progress.step, time.monotonic() - started)


def _error(session: TrainSession, what: str, settings: UpdateSettings, advice: str = "") -> NonFiniteError:
    step = session.progress.step
    before = _update_start(step, settings)
    return NonFiniteError(
        f"{what} {session.first_non_finite(range(before, step + 1))} Training stopped before the update: the weights are those "
        f"after step {before}. A lower learning rate or Trainer.clip_global_norm often helps.{advice}"
    )


def _replay(strategy: tf.distribute.Strategy, step: int) -> str:
    """Return the command that shows a step of this run, to be pasted into a shell, or the call in Python."""
    same = command_line("--workers", "--max_restarts", "--start_timeout")
    if same is None:
        return f"trainer.replay({step}), trainer being a new Trainer"
    alone = " '--gin_param=Trainer.strategy=@mirrored()'" if workers.is_multi_worker(strategy) else ""
    return f"{same}{alone} --mode=replay --step={step}"  # the last --mode counts


def _named(drained: Drained) -> str:
    found = drained.non_finite()
    return ", ".join(f"{path} on {replicas_named(replicas)}" for path, replicas in found.items()) or "a gradient"


def _update_start(step: int, settings: UpdateSettings) -> int:
    """Return the step after which the current update began."""
    return step - step % settings.gradient_accumulation
