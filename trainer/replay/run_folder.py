"""What the folder of a run tells about its steps: how far it has come, with which config, and which losses it wrote."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...metrics.errors import UsageError
from ...metrics.writers.run_files import CHECKPOINTS, METRICS, read_record
from ..checkpointing.folder import CheckpointFolder
from ..loop.run_record import RunFiles

_SAVED_ITS_END = (
    "done",
    "stopped at step ",
    "PreemptedError",
)  # how a run ends whose last checkpoint is of its last step
# What may differ from the run's config without changing a step (up to rounding, on other replicas).
_HARMLESS = frozenset(
    f"Trainer.{name}"
    for name in (
        "best_metric", "best_mode", "checkpoint_interval", "eval_datasets", "eval_interval", "keep_checkpoints", "keep_every",
        "steps_per_loop", "strategy", "summary_interval", "train_epochs", "train_steps",
    )
)  # fmt: skip


class Agreement(NamedTuple):
    """The comparison of the losses on the way with those that the run has written.

    Attributes:
      same: the steps of the train summaries whose losses are equal to the last digit.
      different: (step, path, the run's, the replay's) of the others.
    """

    same: list[int]
    different: list[tuple[int, str, float, float]]


class RunFolder:
    """The folder of a run whose steps are replayed.

    Args:
      model_dir: the folder.
      files: what describes the config of this run; None of a Trainer that was made without gin.
    """

    def __init__(self, model_dir: Path, files: RunFiles | None):
        self._folder = model_dir
        self._files = files
        self.checkpoints: CheckpointFolder = CheckpointFolder(model_dir / CHECKPOINTS)

    def check(self, step: int, checkpoint_interval: int) -> None:
        """Check that the run has made the step, with this config.

        Args:
          step: the number of the step, from 1.
          checkpoint_interval: `Trainer.checkpoint_interval`.

        Raises:
          UsageError: there is no run, it has not come that far, or its config was another.
        """
        saved = self.checkpoints.steps()
        if not saved and not self._record:
            raise UsageError(
                f"Replay of step {step}: {self._folder} has no run: expected the model_dir of a run that has trained."
            )
        reason = self._record.get("exit_reason") or ""
        newest = saved[-1] if saved else 0
        last = newest if reason.startswith(_SAVED_ITS_END) else newest + checkpoint_interval
        if step > last:
            raise UsageError(
                f"Replay of step {step}: expected a step that the run in {self._folder} has made, from 1 to {last}: its newest "
                f"checkpoint is of step {newest}"
                + (f", and it ended with {textwrap.shorten(reason, 100)!r}." if reason else ".")
            )
        self._check_config(step)

    def _check_config(self, step: int) -> None:
        changes = self._files.changes(self._folder) if self._files is not None else []
        changes = [each for each in changes if each.partition(":")[0] not in _HARMLESS]
        if changes:
            raise UsageError(
                f"Replay of step {step}: expected the config of the run, {self._folder / 'config.gin'}, got another one:\n"
                + "\n".join(f"  {each}" for each in changes)
                + f"\nGive the run's own: --gin_file={self._folder / 'config.gin'}"
            )

    def losses(self) -> dict[int, dict[str, float]]:
        """Return step -> the losses of the train summary in metrics.jsonl; lines that cannot be read are left out."""
        path = self._folder / METRICS
        lines = path.read_bytes().splitlines() if path.exists() else []
        found = {}
        for line in lines:
            try:
                record = json.loads(line)
                if record["split"] == "train":
                    found[record["step"]] = losses_in(record["metrics"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    @property
    def _record(self) -> Mapping[str, Any]:
        try:
            return read_record(self._folder)
        except (OSError, ValueError):
            return {}


def losses_in(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the losses among metrics: `loss`, and what stands below it."""
    named = {path: value for path, value in metrics.items() if path.split("/")[0] == "loss"}
    return {path: float(value) for path, value in named.items() if isinstance(value, float | int | str)}


def compare(agreement: Agreement, step: int, written: Mapping[str, float], replayed: Mapping[str, float]) -> None:
    """Add the losses of a summary to the agreement; what only one of the two has is left out."""
    common = [path for path in written if path in replayed]
    wrong = [path for path in common if not _same(written[path], replayed[path])]
    agreement.different.extend((step, path, written[path], replayed[path]) for path in wrong)
    if common and not wrong:
        agreement.same.append(step)


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
