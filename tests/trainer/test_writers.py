"""Trainer.writers: what they are given by a training and its rerun, and that they cannot harm it."""

import csv
import json
import threading

import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import CsvWriter
from tallyloop.metrics.writers.outside import isolated


class Own:
    """Remembers what it is given."""

    def __init__(self):
        self.runs, self.summaries, self.endings = [], [], []

    def begin(self, run):
        self.runs.append(run)

    def write(self, summary):
        self.summaries.append(summary)

    def end(self, ending):
        self.endings.append(ending.state)


class Broken:
    def write(self, summary):
        raise ConnectionError("no server")


class Stuck:
    release = threading.Event()

    def write(self, summary):
        self.release.wait()


def rows(folder, split):
    return list(csv.DictReader((folder / "csv" / f"{split}.csv").open()))


def lines(folder, split):
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["split"] == split]


class TestWriters:
    def test_are_given_a_run_and_its_rerun(self, make_trainer, tmp_path):
        own = Own()
        arguments = {"evaluate": True, "summary_interval": 2, "eval_interval": 2, "model_dir": tmp_path / "run"}
        make_trainer(train_steps=4, writers=[CsvWriter(), own], **arguments).train_and_eval()
        make_trainer(train_steps=6, writers=[CsvWriter(), own], **arguments).train_and_eval()
        assert [(run.folder, run.step) for run in own.runs] == [(tmp_path / "run", 0), (tmp_path / "run", 4)]
        assert own.runs[1].hparams["Trainer.train_steps"] == 6
        assert [(each.step, each.split) for each in own.summaries] == [
            (n, s) for n in (2, 4, 6) for s in ("train", "eval")
        ]
        assert own.endings == ["done", "done"]
        for split in ("train", "eval"):
            written = [(int(row["step"]), float(row["loss"])) for row in rows(tmp_path / "run", split)]
            assert written == [(line["step"], line["metrics"]["loss"]) for line in lines(tmp_path / "run", split)]
            assert [step for step, _ in written] == [2, 4, 6]

    def test_cannot_harm_it(self, make_trainer, tmp_path, caplog, monkeypatch):
        monkeypatch.setattr(isolated, "_PATIENCE", 0.2)
        trainer = make_trainer(
            train_steps=4, summary_interval=1, model_dir=tmp_path / "run", writers=[Broken(), Stuck(), CsvWriter()]
        )
        trainer.train()
        Stuck.release.set()
        assert trainer.step == 4
        assert len(rows(tmp_path / "run", "train")) == len(lines(tmp_path / "run", "train")) == 4
        told = [each.getMessage() for each in caplog.records if "Trainer.writers" in each.getMessage()]
        assert [text.partition(". ")[0] for text in sorted(told)] == [
            "Trainer.writers: Broken has failed: ConnectionError: no server",
            "Trainer.writers: Stuck does not return: its last summaries may be lost, after 0.2 s of waiting for it",
        ]

    @pytest.mark.parametrize(
        ("writers", "message"),
        [
            ("csv", r"Trainer.writers = 'csv': expected a list of writers, such as \[@CsvWriter\(\)\]"),
            (CsvWriter(), "Trainer.writers = .*: expected a list of writers"),
            ([CsvWriter], r"expected a writer, got the class CsvWriter: call it, as in \[@CsvWriter\(\)\]"),
            ([print], r"expected objects with write\(summary\), got <built-in function print>"),
            (["csv"], r"expected objects with write\(summary\), got 'csv'"),
        ],
    )
    def test_of_another_kind_are_refused(self, make_trainer, tmp_path, writers, message):
        with pytest.raises(UsageError, match=message):
            make_trainer(writers=writers, model_dir=tmp_path)

    def test_need_a_folder(self, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.writers: expected a model_dir with them"):
            make_trainer(writers=[CsvWriter()], train_steps=1).train()
