"""A run in Weights & Biases."""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
from typing import Any, Literal

import gin

from ..summary import Ending, RunDescription, Summary
from .past import files, needs, numbers, past, remember, remembered

_MEMORY = "wandb_run.json"  # in the run's folder
_START_SECONDS = 30  # instead of 90, for a server that does not answer


@gin.register(module="tallyloop")
class WandbWriter:
    """Writes to a run of Weights & Biases: metrics as `train/loss`, the bindings as its config, the run's config as files.

    A rerun continues the run. Offline, its folder is written anew from the run's metrics, as a killed process leaves one that
    lacks its last points; `wandb sync` sends it. Arrays are left out. Needs the extra `wandb`.

    Args:
      project: the name of the project.
      entity: the user or team; None is the default one.
      mode: "online" or "offline", which writes to `wandb` in the run's folder; None takes WANDB_MODE.
      group: what groups runs of one experiment.
    """

    def __init__(
        self,
        project: str = "tallyloop",
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
        group: str | None = None,
    ):
        needs("WandbWriter", "wandb", "wandb")
        self._arguments = {"project": project, "entity": entity, "mode": mode, "group": group}
        self._last = -1  # the last step that the server has

    def begin(self, run: RunDescription) -> None:
        """Begin or continue the run of Weights & Biases, and describe it."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # which looks a host up
        wandb: Any = importlib.import_module("wandb")
        memory = run.folder / _MEMORY
        number = remembered(memory).get("id") or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        # At once: W&B takes seconds to begin, and a kill in these must not leave a second run.
        remember(memory, {"id": number})
        before = list((run.folder / "wandb").glob(f"offline-run-*-{number}"))
        self._run: Any = wandb.init(
            **self._arguments,
            id=number,
            name=run.folder.absolute().name,
            dir=str(run.folder),
            config=dict(run.hparams),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", init_timeout=_START_SECONDS),
        )
        if self._run.id != number:  # a sweep's own
            remember(memory, {"id": self._run.id})
        self._description = run
        if self._run.offline:
            for folder in before:
                shutil.rmtree(folder, ignore_errors=True)
        elif self._run.resumed:
            self._last = self._run.starting_step - 1
        for summary in past(run):
            self.write(summary)
        self._save_files()

    def write(self, summary: Summary) -> None:
        """Log what is past the last step that the server has."""
        if summary.step > self._last:
            values = {f"{summary.split}/{path}": value for path, value in numbers(summary).items()}
            self._run.log(values, step=summary.step)

    def end(self, ending: Ending) -> None:
        """Write the files as they are at the end, and the state."""
        self._save_files()
        self._run.summary["ending"] = ending.reason
        self._run.finish(exit_code=int(ending.state == "failed"))

    def _save_files(self) -> None:
        for path in files(self._description):  # copied, as W&B would link to them, and say so each time
            copy = shutil.copy(path, self._run.dir)
            self._run.save(copy, base_path=self._run.dir, policy="now")
