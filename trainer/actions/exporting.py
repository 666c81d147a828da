"""The action that keeps an export of the best model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import gin

from ...metrics.errors import UsageError
from ...metrics.writers import Summary
from ..distribution import workers
from .stopping import warn_without_evaluations

if TYPE_CHECKING:
    from ..trainer import Trainer

FOLDER = "best_export"  # below the model_dir


@gin.register(module="tallyloop")
class ExportBest:
    """Exports the model whenever an evaluation is the best so far by `Trainer.best_metric`, by `Task.export`.

    The folder holds one whole export at any time. If an export fails, the one before stays, and the evaluation does not count
    as the best yet: a rerun makes it again.

    Args:
      folder: where to; None is `best_export` in the model_dir.

    Raises:
      UsageError: before the first step, that there is no best_metric, or no folder.
    """

    def __init__(self, folder: str | Path | None = None):
        if folder is not None and not isinstance(folder, str | Path):
            raise UsageError(f"ExportBest.folder = {folder!r}: expected a path, or None.")
        self._folder = folder

    def check(self, trainer: Trainer) -> None:
        """Check that a best is looked for.

        Raises:
          UsageError: it is not.
        """
        if not trainer.tracks_best:
            raise UsageError(
                "ExportBest: expected Trainer.best_metric and Trainer.best_mode, and nothing is bound to them."
            )

    def start(self, trainer: Trainer) -> None:
        """Finish what a run that was killed may have left half done."""
        warn_without_evaluations(trainer, "ExportBest")
        target = self._target(trainer)
        if workers.is_chief(trainer.strategy) and not target.exists() and _beside(target, "old").exists():
            _beside(target, "old").rename(target)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Export, if this evaluation is the best so far."""
        if not trainer.is_best(summary):
            return
        target = self._target(trainer)
        new, old = _beside(target, "new"), _beside(target, "old")
        chief = workers.is_chief(trainer.strategy)
        if chief:
            shutil.rmtree(new, ignore_errors=True)
        trainer.export(new)
        if chief:
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)

    def _target(self, trainer: Trainer) -> Path:
        if self._folder is not None:
            return Path(self._folder)
        if trainer.model_dir is None:
            raise UsageError("ExportBest.folder = None: expected a folder, as there is no Trainer.model_dir.")
        return trainer.model_dir / FOLDER


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}")
