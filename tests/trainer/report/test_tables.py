import csv
import io
import json

import pytest
from tallyloop.trainer.report import tables
from tallyloop.trainer.report.comparing import Table
from tallyloop.trainer.report.run import read

from .conftest import line

TABLE = Table("Results", ["run", "loss", "best", "step"], [["a", 0.123456, None, 12345]], glued=("best",))


class TestText:
    def test_wide(self):
        assert tables.text(TABLE, 80) == "Results\n\nrun    loss  best   step\na    0.1235     -  12345"

    def test_narrow_repeats_the_first_column_and_keeps_what_belongs_together(self):
        blocks = tables.text(TABLE, 20).split("\n\n")[1:]
        assert [block.split("\n")[0].split() for block in blocks] == [["run", "loss", "best"], ["run", "step"]]

    def test_no_line_is_wider(self):
        table = Table("T", ["run", *"abcdefgh"], [["x" * 40, *[1e-5] * 8]])
        assert max(map(len, tables.text(table, 60).split("\n"))) <= 60


def test_markdown_escapes_bars():
    table = Table("T", ["run", "a|b"], [["x", 10000.4]])
    assert tables.markdown(table) == "## T\n\n| run | a\\|b |\n| --- | --- |\n| x | 10,000 |"


class TestFiles:
    @pytest.fixture
    def runs(self, make_run):
        nan = line(300, "eval", accuracy="NaN")
        return [read("a", make_run("a", extra=nan)), read("b", make_run("b", rate=0.2))]

    def test_csv_has_all_digits(self, runs):
        rows = list(csv.DictReader(io.StringIO(tables.to_csv(runs))))
        assert [row["run"] for row in rows] == ["a", "b"]
        assert [row["eval/accuracy"] for row in rows] == ["nan", "0.8"]
        assert [(row["eval/accuracy best"], row["eval/accuracy best step"]) for row in rows] == [("0.9", "100")] * 2
        assert [row["config Adam.learning_rate"] for row in rows] == ["0.1", "0.2"]

    def test_json(self, runs):
        a, b = json.loads(tables.to_json(runs))["runs"]
        assert a["metrics"]["eval/accuracy"] == {"final": "NaN", "best": 0.9, "best_step": 100, "better": "max"}
        assert (b["ended"], b["differs"], b["damaged_lines"]) == ("done", {"Adam.learning_rate": "0.2"}, 0)
