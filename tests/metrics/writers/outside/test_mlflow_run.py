"""A run in MLflow's local store, and on its server on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from tallyloop.metrics.writers import Ending, JsonlWriter, MlflowWriter, RunDescription, Summary
from tallyloop.metrics.writers.outside import past

mlflow = pytest.importorskip("mlflow", reason='MLflow is not installed: pip install "tallyloop[mlflow]"')
pytestmark = pytest.mark.slow  # the import alone takes seconds

HPARAMS = {"Adam.learning_rate": 0.1, "Trainer.train_steps": 30, "train/Input.shuffle": True}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The address of a local store; making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def begun(tmp_path, store):
    """begun(step, **arguments) -> a writer of the run tmp_path/run that goes on from there."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.gin").write_text("Trainer.train_steps = 30\n")

    def make(step=0, hparams=HPARAMS, uri=store):
        writer = MlflowWriter(experiment=str(tmp_path), tracking_uri=uri)
        writer.begin(RunDescription(folder, step, hparams, {"config/as given": "```\ntext\n```"}))
        return writer

    return make


def runs(uri, experiment):
    client = mlflow.MlflowClient(uri)
    return client, client.search_runs([client.get_experiment_by_name(str(experiment)).experiment_id])


def points(client, run, key):
    return [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, key)]


def train(step, **metrics):
    return Summary(step, "train", metrics, {})


class TestRun:
    def test_has_metrics_as_paths_params_and_files(self, begun, tmp_path, store):
        writer = begun()
        writer.write(Summary(10, "train", {"loss/total": 0.1, "m": np.eye(2)}, {}, {"time/step_s": 2.0}))
        writer.write(Summary(10, "eval/test", {"accuracy": 0.5}, {}))
        writer.end(Ending("done", "finished"))
        client, (run,) = runs(store, tmp_path)
        assert run.info.run_name == "run"
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"train/loss/total": 0.1, "train/time/step_s": 2.0, "eval/test/accuracy": 0.5}
        assert run.data.params == {
            "Adam.learning_rate": "0.1",
            "Trainer.train_steps": "30",
            "train/Input.shuffle": "True",
        }
        assert run.data.tags["tallyloop.ending"] == "finished"
        paths = {each.path for each in client.list_artifacts(run.info.run_id)}
        assert paths == {"config", "config.gin"}

    @pytest.mark.parametrize(
        ("state", "status"), [("failed", "FAILED"), ("interrupted", "KILLED"), ("stopped", "FINISHED")]
    )
    def test_has_the_state(self, begun, tmp_path, store, state, status):
        begun().end(Ending(state, "why"))
        assert [run.info.status for run in runs(store, tmp_path)[1]] == [status]

    def test_has_what_could_not_be_sent_at_first(self, begun, tmp_path, store, monkeypatch):
        writer = begun()
        with monkeypatch.context() as broken:
            broken.setattr(writer._client, "log_batch", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                writer.write(train(10, loss=10.0))
        writer.write(train(20, loss=20.0))
        client, (run,) = runs(store, tmp_path)
        assert points(client, run, "train/loss") == [(10, 10.0), (20, 20.0)]


class TestRerun:
    def test_goes_on_without_a_point_twice(self, begun, tmp_path, store):
        before = begun()
        for step in (10, 20, 30):
            before.write(train(step, loss=float(step)))
        time.sleep(0.01)  # MLflow keeps two points of one step if their times differ
        after = begun(20, hparams={**HPARAMS, "Trainer.train_steps": 40, "new": "x"})
        assert [run.info.status for run in runs(store, tmp_path)[1]] == ["RUNNING"]
        for step in (30, 40):
            after.write(train(step, loss=float(step)))
        client, (run,) = runs(store, tmp_path)
        assert points(client, run, "train/loss") == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]
        assert run.data.params["Trainer.train_steps"] == "30"
        assert run.data.params["new"] == "x"
        assert run.data.tags["changed/Trainer.train_steps"] == "40"

    def test_fills_in_what_was_lost(self, begun, tmp_path, store):
        begun().write(train(10, loss=10.0))
        jsonl = JsonlWriter(tmp_path / "run" / "metrics.jsonl")
        for step in (10, 20, 30):
            jsonl.write(train(step, loss=float(step)))
        begun(20)
        client, (run,) = runs(store, tmp_path)
        assert points(client, run, "train/loss") == [(10, 10.0), (20, 20.0)]

    def test_of_one_that_was_killed_before_it_noted_its_run(self, begun, tmp_path, store):
        begun()
        memory = tmp_path / "run" / "mlflow_run.json"
        noted = json.loads(memory.read_text())
        assert noted.pop("run_id")
        memory.write_text(json.dumps(noted))
        begun().write(train(10, loss=1.0))
        client, (run,) = runs(store, tmp_path)
        assert points(client, run, "train/loss") == [(10, 1.0)]

    def test_of_a_run_that_was_deleted_makes_a_new_one(self, begun, tmp_path, store):
        begun()
        client, (run,) = runs(store, tmp_path)
        client.delete_run(run.info.run_id)
        begun().write(train(10, loss=1.0))
        assert [points(client, each, "train/loss") for each in runs(store, tmp_path)[1]] == [[(10, 1.0)]]


@pytest.fixture
def server(store):
    """The process and the address of a server on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        store,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--host", "127.0.0.1", "--artifacts-destination", store.removeprefix("sqlite:///") + "-files"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1).close()
            break
        except OSError:
            time.sleep(0.2)
    else:
        pytest.fail("the server of MLflow did not start")
    yield process, address
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class TestServer:
    def test_takes_a_run_and_its_death_is_reported_soon(self, begun, tmp_path, server):
        process, address = server
        writer = begun(uri=address)
        writer.write(train(10, loss=0.5))
        client, (run,) = runs(address, tmp_path)
        assert points(client, run, "train/loss") == [(10, 0.5)]
        assert {each.path for each in client.list_artifacts(run.info.run_id)} == {"config", "config.gin"}
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        started = time.monotonic()
        with pytest.raises(mlflow.MlflowException):
            writer.write(train(20, loss=0.25))
        assert time.monotonic() - started < 60  # not four minutes


def test_is_known_by_its_extra(monkeypatch):
    monkeypatch.setattr(past.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'MlflowWriter: expected mlflow to be installed.*"tallyloop\[mlflow\]"'):
        MlflowWriter()
