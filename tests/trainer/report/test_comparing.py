import json

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.report import comparing
from tallyloop.trainer.report.run import Metric, read

from .conftest import line


@pytest.fixture
def runs(make_run):
    return [read("a", make_run("a")), read("b", make_run("b", rate=0.2, accuracies=(0.7, 0.95)))]


class TestMetrics:
    def test_the_one_of_the_config_first(self, runs):
        assert [str(metric) for metric in comparing.metrics_of(runs)] == ["eval/accuracy", "eval/loss", "train/loss"]

    def test_chosen_by_path_or_by_split(self, runs):
        assert comparing.chosen(runs, ["loss"], "--plot") == [Metric("eval", "loss"), Metric("train", "loss")]
        assert comparing.chosen(runs, ["train/loss"], "--plot") == [Metric("train", "loss")]

    def test_unknown(self, runs):
        expected = '--plot=acuracy: expected the name of a metric, got one that no run has: did you mean "accuracy"'
        with pytest.raises(UsageError, match=expected):
            comparing.chosen(runs, ["acuracy"], "--plot")

    def test_without_any(self, tmp_path):
        with pytest.raises(UsageError, match="the runs have none yet"):
            comparing.chosen([read("a", tmp_path)], ["loss"], "--plot")


class TestResults:
    def test_final_and_best_side_by_side(self, runs):
        table = comparing.results(runs, [Metric("eval", "accuracy")])
        assert table.columns == ["run", "ended", "step", "eval/accuracy", "best", "at step"]
        assert table.rows == [["a", "done", 200, 0.8, 0.9, 100], ["b", "done", 200, 0.95, 0.95, 200]]

    def test_the_best_run_first(self, runs):
        assert [run.name for run in comparing.ordered(runs)] == ["b", "a"]

    def test_as_given_where_the_configs_disagree(self, runs, make_run):
        folder = make_run("c")
        config = folder / "operative_config.gin"
        config.write_text(config.read_text().replace("'max'", "'min'"))
        assert [run.name for run in comparing.ordered([*runs, read("c", folder)])] == ["a", "b", "c"]


class TestDifferences:
    def test_are_those_alone(self, runs):
        table = comparing.differences(runs)
        assert table.columns == ["run", "Adam.learning_rate"]
        assert table.rows == [["a", "0.1"], ["b", "0.2"]]

    def test_a_run_without_a_config_is_no_difference(self, runs, tmp_path):
        assert comparing.differing([runs[0], read("c", tmp_path)]) == {}

    def test_of_a_trial_that_was_refused_are_its_values(self, runs, tmp_path):
        values = {"keras.optimizers.Adam.learning_rate": "0.3", "critic/mlp.hidden[1]": "-1"}
        (tmp_path / "trial.json").write_text(json.dumps({"state": "failed", "reason": "no", "values": values}))
        refused = read("c", tmp_path)
        assert comparing.differing([runs[0], refused]) == {
            "Adam.learning_rate": ["0.1", "0.3"],
            "critic/mlp.hidden[1]": [None, "-1"],
        }
        assert comparing.remarks([refused]) == ["c: failed: no", "c: no metrics yet"]

    def test_are_rows_where_there_are_more_than_runs(self, runs, make_run):
        folder = make_run("c")
        (folder / "operative_config.gin").write_text("x.y = 1\n")
        table = comparing.differences([runs[0], read("c", folder)])
        assert table.columns == ["binding", "a", "c"]
        assert table.rows[-1] == ["x.y", None, "1"]


class TestTime:
    def test_by_hand(self, runs):
        """100 steps of 10 ms and 100 of 20 ms; half of the first waited for data; 10 s in all."""
        found = comparing.spent(runs[0])
        assert found["training"] == pytest.approx(3.0)
        assert found["share waiting for data"] == pytest.approx(0.5 / 3)
        assert (found["compile"], found["evaluation"], found["in all"]) == (3.0, 0.75, 10.0)
        assert found["other"] == pytest.approx(10 - 3 - 3 - 0.75)
        assert found["ms/step"] == pytest.approx(15.0)

    def test_is_shown_to_a_tenth(self, runs):
        row = dict(zip(comparing.time(runs).columns, comparing.time(runs).rows[0], strict=True))
        assert (row["evaluation"], row["other"], row["share waiting for data"], row["ms/step"]) == (
            0.8,
            3.2,
            "17%",
            15.0,
        )


class TestRemarks:
    def test_say_what_is_left_out(self, make_run, tmp_path):
        damaged = read("a", make_run("a", extra="x\n{", exit_reason="ValueError: bad"))
        assert comparing.remarks([damaged, read("b", tmp_path)]) == [
            "a: failed: ValueError: bad",
            "a: 1 damaged line of metrics.jsonl left out",
            "a: the last line of metrics.jsonl is half-written and left out",
            "b: unknown: no run.json",
            "b: no metrics yet",
        ]

    def test_of_a_good_run(self, make_run):
        assert comparing.remarks([read("a", make_run(extra=line(300, "eval", accuracy=1.0)))]) == []
