"""Real processes and real signals; what they run stands in for training."""

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.report import command as report
from tallyloop.trainer.report.run import read
from tensorboard.plugins.hparams import api_pb2

from .conftest import Studies, hparams

START = "2026-01-01T10:00:00+00:00"


class TestGrid:
    def test_trains_each_combination_once_and_keeps_the_best_config(self, studies, capsys):
        assert studies.grid("x=0.5,0.7,0.6") == 0
        assert studies.starts() == [["0.5"], ["0.7"], ["0.6"]]
        assert [label["value"] for label in studies.labels()] == [0.55, 0.75, 0.65]
        assert (studies.folder / "best.gin").read_text() == "# Trial 1 of the study s: accuracy 0.75\nx = 0.7\n"
        out = capsys.readouterr().out
        assert "Best: trial 1, accuracy 0.75: x=0.7" in out
        assert "Study s: 3 done" in out

    def test_again_trains_only_what_is_new(self, studies):
        studies.grid("x=0.5,0.7")
        assert studies.grid("x=0.5,0.9,0.7") == 0
        assert studies.starts() == [["0.5"], ["0.7"], ["0.9"]]

    def test_several_at_once(self, studies):
        """Each of four trials waits for all the others: one after the other would never end."""

        def command(folder, bindings):
            wait = f"import glob, time\nwhile len(glob.glob('{studies.folder}/*/starts')) < 4: time.sleep(0.01)\n"
            run = studies.command(folder, bindings)
            return [*run[:2], run[2].replace("if x < 0", wait + "if x < 0"), *run[3:]]

        assert studies.grid("x=0.1,0.2", "pause=0.01,0.02", jobs=4, command=command) == 0
        assert [label["values"]["pause"] for label in studies.labels()] == ["0.01", "0.02", "0.01", "0.02"]


class TestFailures:
    def test_one_is_reported_and_the_study_goes_on(self, studies, capsys):
        assert studies.grid("x=-1,0.5") == 0
        failed, done = studies.labels()
        assert (failed["state"], done["state"]) == ("failed", "done")
        assert failed["reason"].startswith("exit code 2: x = -1.0: expected a number of at least 0.")
        assert f"Trial 0 failed: {failed['reason']}" in capsys.readouterr().out
        assert studies.grid("x=-1,0.5") == 0
        assert studies.starts() == [["-1.0"], ["0.5"]]
        assert "another --study begins anew and tries the 1 that failed again." in capsys.readouterr().out

    def test_one_that_was_refused_is_in_the_report_and_in_hparams(self, studies, capsys):
        studies.grid("x=-1,0.5")
        capsys.readouterr()
        assert report.main(["tallyloop-report", str(studies.folder)]) == 0
        out = capsys.readouterr().out
        assert re.search(r"^trial-0000 +failed", out, re.MULTILINE)
        assert "trial-0000: failed: exit code 2: x = -1.0: expected a number of at least 0." in out
        assert re.search(r"^trial-0000 +-1$", out, re.MULTILINE)  # what differs
        start, end = hparams(studies.folder / "trial-0000")
        assert start.session_start_info.hparams["x"].number_value == -1
        assert end.session_end_info.status == api_pb2.STATUS_FAILURE

    def test_three_at_the_start_end_it(self, studies):
        assert studies.grid("x=-1,-2,-3,-4,0.5") == 2
        assert len(studies.labels()) == 3
        assert studies.grid("x=-1,-2,-3,-4,0.5") == 0

    def test_a_trial_without_the_metric(self, studies):
        def command(folder, bindings):
            run = studies.command(folder, bindings)
            return [*run[:2], run[2].replace('"accuracy"', '"loss"'), *run[3:]]

        assert studies.grid("x=1,2", command=command) == 1
        assert studies.labels()[0]["reason"].startswith("no evaluation has a finite accuracy")

    def test_one_that_is_killed(self, studies):
        assert studies.grid("x=1", command=lambda folder, bindings: ["bash", "-c", "kill -9 $$"]) == 1
        assert studies.labels()[0]["reason"].startswith("killed by SIGKILL")


class TestKilledBeforeTheNote:
    """A study that was killed after the last step of a poor trial, and before it had noted that."""

    @pytest.mark.parametrize(("exit_reason", "state", "value"), [("done", "done", 0.002), (None, "pruned", None)])
    def test_a_trial_that_was_done_is_done(self, studies, exit_reason, state, value):
        studies.search(5, prune=True)
        trial = studies.book(6, prune=True).next()
        folder = studies.folder / trial.folder
        folder.mkdir()
        lines = [{"step": step, "split": "eval", "metrics": {"accuracy": step / 1000}, "counts": {}} for step in (1, 2)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "run.json").write_text(json.dumps({"start": START, "end": START, "exit_reason": exit_reason}))
        assert studies.search(6, prune=True) == 0
        assert (studies.labels()[5]["state"], studies.labels()[5]["value"]) == (state, value)
        assert len(studies.starts()) == 5  # it was not trained again
        assert studies.book(6, prune=True).trials()[5].outcome == state


class TestSearch:
    def test_counts_all_trials_of_all_its_runs(self, studies, capsys):
        assert studies.search(2) == 0
        assert studies.search(4, jobs=2) == 0
        capsys.readouterr()
        assert studies.search(4) == 0
        assert "Nothing was left to do: a larger --trials" in capsys.readouterr().out
        starts = studies.starts()
        assert [len(each) for each in starts] == [1] * 4
        assert len({each[0] for each in starts}) == 4
        best = max(studies.labels(), key=lambda label: label["value"])
        assert (studies.folder / "best.gin").read_text().startswith(f"# Trial {best['number']} of the study s: ")

    def test_ends_hopeless_trials_early(self, studies):
        """Of eight, those after the first five are compared with the median; one below it at its first evaluations is ended."""

        def command(folder, bindings):
            slow = ["pause=0.25"] if folder.name > "trial-0004" else []
            return [*studies.command(folder, bindings), *slow]

        assert studies.search(8, jobs=5, prune=True, command=command) == 0
        labels = studies.labels()
        early = [label for label in labels if label["state"] == "pruned"]
        assert early
        assert all(label["reason"].startswith("accuracy 0.") for label in early)
        assert all("worse than the median of the other trials" in label["reason"] for label in early)
        first = sorted(label["value"] for label in labels[:5])
        assert all(float(label["values"]["x"]) + 0.05 < first[-1] for label in early)
        folders = [studies.folder / f"trial-{label['number']:04d}" for label in early]
        assert min(len(read("", folder).metrics["eval", "accuracy"]) for folder in folders) < 5


STUDY = """
import signal, sys
from pathlib import Path
for number in (signal.SIGTERM, signal.SIGINT):  # which a test run in the background may have ignored
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
sys.path.insert(0, sys.argv[1])
from conftest import Studies
kind, count = sys.argv[3], int(sys.argv[4])
studies = Studies(Path(sys.argv[2]))
if kind == "search":
    code = studies.search(count, jobs=2, prune=True)
else:
    code = studies.grid("x=" + ",".join(str(number / 100) for number in range(count)), jobs=2)
assert not {"tensorflow", "keras", "tensorboard"} & set(sys.modules), "the study imported TensorFlow"
assert ("optuna" in sys.modules) == (kind == "search"), "a grid needs no extra"
sys.exit(code)
"""


class Runner:
    """Runs a study in a process of its own."""

    def __init__(self, studies: Studies, kind: str, count: int):
        self._arguments = [os.path.dirname(__file__), str(studies.folder), kind, str(count)]

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-c", STUDY, *self._arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self) -> None:
        process = self.start()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out


def check(studies: Studies, count: int) -> None:
    """Neither a trial was lost nor one repeated, and none has evaluated a step twice."""
    labels = studies.labels()
    assert [label["number"] for label in labels] == list(range(count))
    assert {label["state"] for label in labels} <= {"done", "pruned"}
    starts = studies.starts()
    assert [len(set(each)) for each in starts] == [1] * count
    assert len({each[0] for each in starts}) == count
    for label in labels:
        folder = studies.folder / f"trial-{label['number']:04d}"
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, len(steps) + 1))
        assert label["state"] == "pruned" or len(steps) == 5


class TestSignals:
    @pytest.mark.parametrize(
        ("number", "kind"), [(signal.SIGTERM, "grid"), pytest.param(signal.SIGINT, "search", marks=pytest.mark.slow)]
    )
    def test_end_the_trials_and_the_same_command_continues(self, studies, number, kind):
        runner = Runner(studies, kind, 2)
        process = runner.start()
        while not studies.starts():
            time.sleep(0.01)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 42, out
        assert "Stopped. The same command continues what was under way." in out
        runner.finish()
        check(studies, 2)


class TestKills:
    @pytest.mark.parametrize(
        ("kind", "kills", "count"),
        [
            ("grid", 1, 2),
            pytest.param("grid", 5, 10, marks=pytest.mark.slow),
            pytest.param("search", 5, 10, marks=pytest.mark.slow),  # of real trainings: tests/e2e/test_studies.py
        ],
    )
    def test_neither_lose_nor_repeat_a_trial(self, studies, kind, kills, count):
        runner, chance = Runner(studies, kind, count), random.Random(1)
        for _ in range(kills):
            process = runner.start()
            before = len(studies.starts())
            deadline = time.monotonic() + 30
            while len(studies.starts()) == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
            process.communicate()
        runner.finish()
        check(studies, count)


def test_two_at_once_are_refused(studies):
    studies.folder.mkdir(parents=True)
    with (studies.folder / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="is in use by another run"):
            studies.grid("x=1")
