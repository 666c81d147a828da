"""A run in MLflow."""

from __future__ import annotations

import importlib
import os
import re
import secrets
import time
from pathlib import Path
from typing import Any

import gin

from ..summary import Ending, RunDescription, Summary
from .past import files, needs, numbers, past, remember, remembered

_MEMORY = "mlflow_run.json"  # in the run's folder
_TOKEN = "tallyloop.token"  # the tag by which a run is found that was made, and not noted
# What MLflow's server takes in one request, and of one value.
_MOST_METRICS, _MOST_PARAMS, _LONGEST_PARAM = 1000, 100, 500
# Without these, MLflow tries for four minutes to reach a server that is gone. What it misses is sent with the next summary.
_IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_STATUS = {"done": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


@gin.register(module="tallyloop")
class MlflowWriter:
    """Writes to a run of MLflow: metrics as `train/loss`, the bindings as parameters, the config and the metrics as files.

    A rerun continues the same run of MLflow, and writes no point twice: those after the checkpoint, which are made again, are the
    same numbers. Arrays are left out. Needs the extra `mlflow`.

    Args:
      experiment: the name of the experiment; made if it isn't there.
      tracking_uri: a server, `http://HOST:PORT`, or a file, `sqlite:////PATH/mlflow.db`; None takes MLFLOW_TRACKING_URI, or
        MLflow's default.
      artifact_location: where a new experiment keeps its files; None leaves that to MLflow, but for a SQLite file, where it is
        `mlartifacts` beside it.
    """

    def __init__(
        self,
        experiment: str = "tallyloop",
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
    ):
        needs("MlflowWriter", "mlflow", "mlflow")
        self._experiment = experiment
        self._uri = tracking_uri
        self._artifacts = artifact_location
        self._last: dict[str, int] = {}  # key -> its last step
        self._unsent: list[Any] = []  # metrics, with their time: MLflow keeps one that it is sent twice once

    def begin(self, run: RunDescription) -> None:
        """Find the run of MLflow, or make it, and describe it."""
        self._mlflow: Any = importlib.import_module("mlflow")  # seconds
        for name, value in _IMPATIENCE.items():
            os.environ.setdefault(name, value)
        uri = self._uri or self._mlflow.get_tracking_uri()
        self._client = self._mlflow.MlflowClient(uri)
        self._run = run
        self._id: str = self._found_or_made(uri)
        self._describe(run)
        for summary in past(run):
            self.write(summary)

    def write(self, summary: Summary) -> None:
        """Log what is past the last step of its metric, and what could not be logged before."""
        metric, now, step = self._mlflow.entities.Metric, int(time.time() * 1000), summary.step
        named = {f"{summary.split}/{path}": value for path, value in numbers(summary).items()}
        new = [metric(key, value, now, step) for key, value in named.items() if step > self._last.get(key, -1)]
        self._last |= {each.key: step for each in new}
        self._unsent += new
        self._send()

    def end(self, ending: Ending) -> None:
        """Write what is missing, the files as they are at the end, and the state."""
        self._send()
        self._log_files()
        self._client.set_tag(self._id, "tallyloop.ending", ending.reason)
        self._client.set_terminated(self._id, _STATUS[ending.state])

    def _send(self) -> None:
        while self._unsent:
            self._client.log_batch(self._id, metrics=self._unsent[:_MOST_METRICS])
            del self._unsent[:_MOST_METRICS]

    def _found_or_made(self, uri: str) -> str:
        """Return the run of this folder. Its name for it is noted before it is made: a kill in between leaves no second run."""
        path = self._run.folder / _MEMORY
        memory = remembered(path)
        if memory.get("tracking_uri") != uri:
            memory = {"tracking_uri": uri}
        memory.setdefault("token", secrets.token_hex(8))
        remember(path, memory)
        noted = memory.get("run_id")
        known = noted if noted and self._is_there(noted) else self._tagged(memory["token"])
        found = self._continued(known) if known else self._made(uri, memory["token"])
        remember(path, {**memory, "run_id": found})
        return found

    def _tagged(self, token: str) -> str | None:
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            return None
        runs = self._client.search_runs([experiment.experiment_id], f"tags.`{_TOKEN}` = '{token}'", max_results=1)
        return runs[0].info.run_id if runs else None

    def _is_there(self, run_id: str) -> bool:
        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except self._mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _made(self, uri: str, token: str) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(self._experiment, self._location(uri))
        )
        tags = {"tallyloop.folder": str(self._run.folder.absolute()), _TOKEN: token}
        return self._client.create_run(experiment, run_name=self._run.folder.absolute().name, tags=tags).info.run_id

    def _continued(self, run_id: str) -> str:
        """Go on with a run, past the steps that it has; returns its number."""
        self._client.update_run(run_id, status="RUNNING")
        for key in self._client.get_run(run_id).data.metrics:
            self._last[key] = max(metric.step for metric in self._client.get_metric_history(run_id, key))
        return run_id

    def _location(self, uri: str) -> str | None:
        file = re.fullmatch(r"sqlite:///(.+)", uri)
        if self._artifacts is not None or file is None:
            return self._artifacts
        return (Path(file[1]).absolute().parent / "mlartifacts").as_uri()

    def _describe(self, run: RunDescription) -> None:
        """Log the bindings as parameters, which MLflow keeps as they are first logged; what a rerun changes is a tag, too."""
        entities = self._mlflow.entities
        before = self._client.get_run(self._id).data.params
        given = {re.sub(r"[^\w\-. :/]", "_", name): str(value)[:_LONGEST_PARAM] for name, value in run.hparams.items()}
        new = [entities.Param(name, value) for name, value in given.items() if name not in before]
        for begin in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(self._id, params=new[begin : begin + _MOST_PARAMS])
        changed = [
            entities.RunTag(f"changed/{name}", value)
            for name, value in given.items()
            if before.get(name, value) != value
        ]
        if changed:
            self._client.log_batch(self._id, tags=changed)
        for title, text in run.texts.items():
            self._client.log_text(self._id, text, f"{title}.md")
        self._log_files()

    def _log_files(self) -> None:
        for path in files(self._run):
            self._client.log_artifact(self._id, str(path))
