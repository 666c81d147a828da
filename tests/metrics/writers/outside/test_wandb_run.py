"""A run of Weights & Biases, offline: what its file holds."""

import json
import struct
import time

import numpy as np
import pytest
from tallyloop.metrics.writers import Ending, JsonlWriter, RunDescription, Summary, WandbWriter
from tallyloop.metrics.writers.outside import past

wandb = pytest.importorskip("wandb", reason='Weights & Biases is not installed: pip install "tallyloop[wandb]"')
pytestmark = pytest.mark.slow  # each run starts a process


@pytest.fixture
def begun(tmp_path):
    """begun(step) -> a writer of the run tmp_path/run that goes on from there."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.gin").write_text("x = 1\n")

    def make(step=0):
        writer = WandbWriter(project="tests", mode="offline")
        writer.begin(RunDescription(folder, step, {"Adam.learning_rate": 0.1}))
        return writer

    return make


def train(step, **metrics):
    return Summary(step, "train", metrics, {})


def records(folder):
    """The records of the one offline run; the process that writes them may be a little behind."""
    for _ in range(100):
        found = _records(folder)
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError([record.WhichOneof("record_type") for record in found])


def _records(folder):
    """LevelDB's log format: blocks of 32 KB of (checksum, length, kind, data)."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, place, data, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        data += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(data))
            data = b""
    return found


def rows(folder):
    """The points: a dict each, without what W&B adds."""
    found = []
    for record in records(folder):
        if record.HasField("history"):
            items = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            found.append({key: value for key, value in items.items() if key == "_step" or key[0] != "_"})
    return found


class TestRun:
    def test_has_metrics_as_paths_the_config_and_files(self, begun, tmp_path):
        writer = begun()
        writer.write(Summary(10, "train", {"loss/total": 0.1, "m": np.eye(2)}, {}, {"time/step_s": 2.0}))
        writer.write(Summary(10, "eval/test", {"accuracy": 0.5}, {}))
        writer.write(train(20, loss=0.05))
        writer.end(Ending("done", "finished"))
        folder = tmp_path / "run"
        assert rows(folder) == [
            {"_step": 10, "train/loss/total": 0.1, "train/time/step_s": 2.0, "eval/test/accuracy": 0.5},
            {"_step": 20, "train/loss": 0.05},
        ]
        (run,) = [record.run for record in records(folder) if record.HasField("run")][:1]
        assert (run.display_name, run.project) == ("run", "tests")
        config = {item.key: item.value_json for item in run.config.update}
        assert config["Adam.learning_rate"] == "0.1"
        (copy,) = folder.glob("wandb/offline-run-*/files/config.gin")
        assert copy.read_text() == "x = 1\n"


class TestRerun:
    def test_has_each_point_once_also_those_that_a_kill_has_lost(self, begun, tmp_path):
        folder = tmp_path / "run"
        jsonl = JsonlWriter(folder / "metrics.jsonl")
        before = begun()
        for step in (10, 20, 30):
            jsonl.write(train(step, loss=float(step)))
            before.write(train(step, loss=float(step)))
        before._run.finish()
        jsonl.truncate_after(20)
        after = begun(20)
        assert after._run.id == before._run.id
        after.write(train(30, loss=30.0))
        after.write(train(40, loss=40.0))
        after.end(Ending("failed", "why"))
        assert rows(folder) == [{"_step": step, "train/loss": step} for step in (10, 20, 30, 40)]
        (exit,) = [record.exit for record in records(folder) if record.HasField("exit")]
        assert exit.exit_code == 1

    def test_after_a_kill_while_the_run_was_begun(self, begun, tmp_path, monkeypatch):
        """The folder of W&B is there, and nobody was left to note whose it is."""
        real = wandb.init

        def killed(**arguments):
            real(**arguments).finish()
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(wandb, "init", killed)
            with pytest.raises(SystemExit):
                begun()
        after = begun()
        after.write(train(10, loss=1.0))
        after.end(Ending("done", "finished"))
        assert rows(tmp_path / "run") == [{"_step": 10, "train/loss": 1.0}]


def test_is_known_by_its_extra(monkeypatch):
    monkeypatch.setattr(past.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'WandbWriter: expected wandb to be installed.*"tallyloop\[wandb\]"'):
        WandbWriter()
