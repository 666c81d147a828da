"""Tables of a run: rows, columns, and what a rerun does to them."""

import csv
import math

import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import CsvWriter, JsonlWriter, RunDescription, Summary


def train(step, **metrics):
    return Summary(step, "train", metrics, {})


@pytest.fixture
def begun(tmp_path):
    """begun(step) -> a writer of the run in tmp_path that goes on from there."""

    def make(step=0):
        writer = CsvWriter()
        writer.begin(RunDescription(tmp_path, step, {}))
        return writer

    return make


@pytest.fixture
def table(tmp_path):
    """table(split) -> its rows, each a list of texts."""
    return lambda split="train": list(csv.reader((tmp_path / "csv" / f"{split}.csv").open()))


class TestTable:
    def test_has_one_row_per_summary_with_all_digits(self, begun, table):
        writer = begun()
        writer.write(Summary(10, "train", {"loss": 0.1, "a/b": 1 / 3}, {"loss": 8.0}, {"time/step_s": 2.0}))
        writer.write(Summary(20, "train", {"loss": math.nan, "a/b": math.inf}, {}, {"time/step_s": 3.0}))
        assert table() == [
            ["step", "loss", "a/b", "time/step_s"],
            ["10", "0.1", "0.3333333333333333", "2.0"],
            ["20", "nan", "inf", "3.0"],
        ]
        assert float(table()[1][2]) == 1 / 3

    def test_is_one_per_split(self, begun, table):
        writer = begun()
        writer.write(Summary(10, "eval/a", {"loss": 1.0}, {}))
        writer.write(Summary(10, "eval/b", {"loss": 2.0}, {}))
        assert [table("eval/a")[1], table("eval/b")[1]] == [["10", "1.0"], ["10", "2.0"]]

    def test_leaves_arrays_out(self, begun, table):
        begun().write(train(10, loss=1.0, matrix=np.eye(2)))
        assert table() == [["step", "loss"], ["10", "1.0"]]

    def test_gets_a_column_for_a_metric_that_comes_later(self, begun, table):
        writer = begun()
        writer.write(train(10, loss=1.0))
        writer.write(train(20, loss=2.0, late=3.0))
        writer.write(train(30, late=4.0))
        assert table() == [["step", "loss", "late"], ["10", "1.0", ""], ["20", "2.0", "3.0"], ["30", "", "4.0"]]

    def test_has_one_row_per_step(self, begun, table):
        writer = begun()
        writer.write(train(10, loss=1.0))
        writer.write(train(10, loss=2.0))
        assert table()[1:] == [["10", "2.0"]]

    def test_may_be_elsewhere(self, tmp_path):
        (tmp_path / "run").mkdir()
        writer = CsvWriter(tmp_path / "else")
        writer.begin(RunDescription(tmp_path / "run", 0, {}))
        writer.write(train(10, loss=1.0))
        assert (tmp_path / "else" / "train.csv").read_text() == "step,loss\n10,1.0\n"


class TestAFolderElsewhere:
    @pytest.fixture
    def begun_there(self, tmp_path):
        """begun_there(run, step) -> a writer of this run, whose tables are in `shared`."""

        def make(run, step=0):
            (tmp_path / run).mkdir(exist_ok=True)
            writer = CsvWriter(tmp_path / "shared")
            writer.begin(RunDescription(tmp_path / run, step, {}))
            return writer

        return make

    def test_goes_on_with_its_own_tables(self, begun_there, tmp_path):
        writer = begun_there("a")
        for step in (10, 20):
            writer.write(train(step, loss=float(step)))
        begun_there("a", 10).write(train(20, loss=21.0))
        assert (tmp_path / "shared" / "train.csv").read_text() == "step,loss\n10,10.0\n20,21.0\n"

    def test_of_another_run_is_refused(self, begun_there, tmp_path):
        begun_there("a").write(train(10, loss=1.0))
        with pytest.raises(
            UsageError, match=r"expected a folder for this run alone, and it has those of .*a; bind another"
        ):
            begun_there("b")
        assert (tmp_path / "shared" / "train.csv").read_text() == "step,loss\n10,1.0\n"

    @pytest.mark.parametrize("name", ["train.csv", "eval/labels.csv"])
    def test_other_peoples_tables_are_left_alone(self, begun_there, tmp_path, name):
        path = tmp_path / "shared" / name
        path.parent.mkdir(parents=True)
        path.write_text("step,label\n1,cat\n")
        with pytest.raises(UsageError, match=rf"it has {path.name}, which no run has claimed"):
            begun_there("a")
        assert path.read_text() == "step,label\n1,cat\n"

    def test_other_files_may_be_beside(self, begun_there, tmp_path):
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / "labels.csv").write_text("step,label\n1,cat\n")
        begun_there("a")
        assert (tmp_path / "shared" / "labels.csv").read_text() == "step,label\n1,cat\n"


class TestRerun:
    def test_has_no_point_twice(self, begun, table):
        before = begun()
        for step in (10, 20, 30):
            before.write(train(step, loss=float(step)))
        after = begun(20)
        assert [row[0] for row in table()[1:]] == ["10", "20"]
        after.write(train(30, loss=31.0))
        assert table()[1:] == [["10", "10.0"], ["20", "20.0"], ["30", "31.0"]]

    def test_fills_in_what_a_kill_has_lost(self, begun, table, tmp_path):
        begun().write(train(10, loss=1.0))
        jsonl = JsonlWriter(tmp_path / "metrics.jsonl")
        for step in (10, 20, 30):
            jsonl.write(train(step, loss=step / 10))
        begun(20)
        assert table()[1:] == [["10", "1.0"], ["20", "2.0"]]

    @pytest.mark.parametrize("torn", ["2", "20,", "20,1.5"])
    def test_drops_a_torn_row(self, begun, table, tmp_path, torn):
        begun().write(train(10, loss=1.0))
        with (tmp_path / "csv" / "train.csv").open("a") as file:
            file.write(torn)
        begun(10).write(train(20, loss=2.0))
        assert table() == [["step", "loss"], ["10", "1.0"], ["20", "2.0"]]

    def test_from_the_start_begins_anew(self, begun, table):
        begun().write(train(10, loss=1.0))
        begun(0).write(train(5, loss=3.0))
        assert table()[1:] == [["5", "3.0"]]
