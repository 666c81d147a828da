import json
import subprocess
import sys

import pytest
from tallyloop.trainer.loop import folder_lock
from tallyloop.trainer.report import command


@pytest.fixture
def report(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        code = command.main(["tallyloop-report", *map(str, arguments)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def runs(make_run):
    make_run("a")
    return make_run("b", rate=0.2, accuracies=(0.7, 0.95)).parent


class TestReport:
    def test_tables(self, report, runs):
        code, out, _ = report(runs)
        assert code == 0
        rows = [line.split() for line in out.split("\n")]
        assert ["b", "done", "200", "0.95", "0.95", "200", "1.25", "1.25", "200", "1", "1", "200"] in rows
        assert ["b", "0.2"] in rows
        assert "Where the time went" in out

    def test_formats(self, report, runs):
        assert json.loads(report(runs, "--format=json")[1])["runs"][0]["run"] == "b"
        assert report(runs, "--format=csv")[1].startswith("run,folder,ended")
        assert report(runs, "--format=markdown")[1].startswith("## Results\n\n| run | ended |")
        assert report(runs, "--format=html")[1].startswith("<!DOCTYPE html>")

    def test_a_chosen_metric(self, report, runs):
        out = report(runs, "--metric=train/loss")[1]
        assert "train/loss" in out
        assert "accuracy" not in out.split("What differs")[0]

    def test_a_plot(self, report, runs):
        assert report(runs, "--plot=accuracy")[1].startswith("accuracy\n")

    def test_watch_ends_when_no_run_is_running(self, report, runs, monkeypatch):
        monkeypatch.setattr(command, "_SECONDS_BETWEEN_LOOKS", 0)
        looks = []
        record = runs / "a/run.json"
        done = record.read_text()
        record.write_text(done.replace('"done"', "null"))
        with folder_lock.locked(runs / "a"):
            monkeypatch.setattr(command.time, "sleep", lambda seconds: looks.append(record.write_text(done)))
            code, out, _ = report(runs, "--watch")
        assert (code, len(looks)) == (0, 1)
        assert out.index("running") < out.rindex("done")
        assert out.count("Results") == 2


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ([], "expected at least one RUN"),
            (["nothing"], "RUN = 'nothing': expected the folder of a run, or a pattern, got no such folder"),
            (
                ["RUNS", "--format=jsn"],
                '--format=jsn: expected one of table, csv, json, markdown, html: did you mean "json"?',
            ),
            (
                ["RUNS", "--plot=los"],
                '--plot=los: expected the name of a metric, got one that no run has: did you mean "loss"?',
            ),
            (
                ["RUNS", "--metric=f1"],
                "--metric=f1: expected the name of a metric, got one that no run has. Known: accuracy",
            ),
            (["RUNS", "--watch", "--format=csv"], "--watch: expected --format=table, which is for a terminal, got csv"),
            (["RUNS", "--plot=loss", "--format=html"], "--plot=loss: expected --format=table"),
            (["RUNS", "--metric=loss", "--format=json"], "got json, which has all metrics"),
            (["RUNS", "--wach"], "unrecognized arguments: --wach (tallyloop-report --help shows the usage)"),
            (["RUNS", "--plot"], "argument --plot: expected one argument"),
        ],
    )
    def test_exit_2_and_say_what_was_expected(self, report, runs, arguments, expected):
        code, out, err = report(*(runs if each == "RUNS" else each for each in arguments))
        assert (code, out) == (2, "")
        assert expected in err


def test_loads_nothing_heavy(runs):
    code = (
        "import sys\nfrom tallyloop.trainer.report import command\n"
        f"assert command.main(['tallyloop-report', {str(runs)!r}]) == 0\n"
        "heavy = {'tensorflow', 'keras', 'tensorboard', 'numpy', 'rich', 'plotext', 'gin', 'absl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
