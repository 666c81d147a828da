"""A study of real trainings, killed and stopped on the way."""

import json
import random
import re
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
from tallyloop.trainer.report import command as report

CONFIG = """
include "digits.gin"
Trainer.best_metric = "accuracy"
Trainer.best_mode = "max"
Trainer.train_steps = 4000
Trainer.eval_interval = 200
Trainer.checkpoint_interval = 200
mlp.hidden = (%search.int(16, 32),)
"""


def wait_for(condition, process):
    deadline = time.monotonic() + 200
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.mark.slow
def test_is_killed_and_stopped_and_ends_with_the_best_config(command):
    (command.folder / "search.gin").write_text(CONFIG)
    folder = command.folder / "runs" / "s"
    arguments = ["--gin_file=search.gin", f"--model_dir={folder.parent}", "--study=s", "--trials=1"]
    trial = folder / "trial-0000"

    process = command.forked(*arguments)
    wait_for((trial / "checkpoints" / "ckpt-200.index").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()  # the kernel ends its training with it, or else the folder would be in use

    lines = (trial / "metrics.jsonl").read_text().count("\n")
    process = command.forked(*arguments)
    wait_for(lambda: (trial / "metrics.jsonl").read_text().count("\n") > lines + 2, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 42

    done = command.started(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((trial / "run.json").read_text())
    assert record["exit_reason"] == "done"
    assert len(record["attempts"]) == 3
    evals = [
        each for each in map(json.loads, (trial / "metrics.jsonl").read_text().splitlines()) if each["split"] == "eval"
    ]
    assert [each["step"] for each in evals] == list(range(200, 4001, 200))
    best = max(each["metrics"]["accuracy"] for each in evals)
    assert json.loads((trial / "trial.json").read_text())["value"] == best
    assert any(b"mlp.hidden" in path.read_bytes() for path in trial.glob("*tfevents*"))  # a row of HParams
    text = (folder / "best.gin").read_text()
    assert text.startswith(f"# Trial 0 of the study s: accuracy {best!r}\n")

    again = command.started(f"--gin_file={folder / 'best.gin'}", "--model_dir=again")
    assert again.returncode == 0, again.stdout + again.stderr
    same = [json.loads(line) for line in (command.folder / "again" / "metrics.jsonl").read_text().splitlines()]
    assert [each["metrics"]["accuracy"] for each in same if each["split"] == "eval"] == [
        each["metrics"]["accuracy"] for each in evals
    ]


KILLED = """
include "digits.gin"
import slowly
Trainer.best_metric = "accuracy"
Trainer.best_mode = "max"
Trainer.train_steps = 600
Trainer.summary_interval = 10
Trainer.eval_interval = 20
Trainer.checkpoint_interval = 10
Trainer.steps_per_loop = 10
Trainer.actions = [@slowly]
mlp.hidden = (16,)
keras.optimizers.Adam.learning_rate = %search.loguniform(1e-3, 1e-2)
"""
RATE = "keras.optimizers.Adam.learning_rate"
BRIEFLY = """
import time, gin

@gin.register
def slowly(trainer, summary):
    time.sleep(0.1)
"""


@pytest.fixture(scope="class")
def killed(tmp_path_factory, programs):
    folder = tmp_path_factory.mktemp("killed")
    (folder / "killed.gin").write_text(KILLED)
    (folder / "slowly.py").write_text(BRIEFLY)
    flags = ["-m", "tallyloop.trainer", "--gin_file=killed.gin"]
    study = folder / "runs" / "s"
    arguments = [*flags, "--model_dir=runs", "--study=s", "--trials=4", "--jobs=2"]
    chance = random.Random(0)
    for _ in range(20):
        before = saved(study)
        with programs.start(arguments, cwd=folder, stdout=subprocess.DEVNULL) as process:
            wait_for(lambda before=before: saved(study) > before, process)
            time.sleep(chance.uniform(0, 0.2))
            assert process.poll() is None, "it was done before the twentieth kill"
            process.send_signal(signal.SIGKILL)
    done = programs.run(arguments, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (binding,) = json.loads((study / "trial-0001" / "trial.json").read_text())["values"].items()
    alone = programs.run([*flags, "--model_dir=alone", "--gin_param={}={}".format(*binding)], folder)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    return SimpleNamespace(study=study, alone=folder / "alone")


@pytest.mark.slow
class TestTwentyKills:
    """Four real trainings, two at once, whose study is killed twenty times while they train."""

    def test_neither_lose_nor_repeat_a_trial(self, killed):
        optuna = pytest.importorskip("optuna")
        book = optuna.load_study(study_name="s", storage=f"sqlite:///{killed.study}/study.db")
        rates = []
        for number in range(4):
            trial = killed.study / f"trial-{number:04d}"
            record = json.loads((trial / "run.json").read_text())
            assert record["exit_reason"] == "done"
            label = json.loads((trial / "trial.json").read_text())
            rates.append(float(label["values"][RATE]))
            assert book.trials[number].state.name == "COMPLETE"
            assert book.trials[number].params[RATE] == pytest.approx(rates[-1], rel=1e-5)
            assert book.trials[number].value == label["value"] == max(accuracies(trial))
            assert [step for step, _ in evaluations(trial)] == list(range(20, 601, 20))
        assert len({*rates}) == len(book.trials) == len(list(killed.study.glob("trial-*"))) == 4

    def test_change_no_number(self, killed):
        assert evaluations(killed.study / "trial-0001") == evaluations(killed.alone)

    def test_hit_trainings(self, killed):
        attempts = [json.loads(path.read_text())["attempts"] for path in killed.study.glob("trial-*/run.json")]
        assert sum(map(len, attempts)) >= 4 + 20  # each kill has interrupted at least one


def accuracies(folder):
    return [metrics["accuracy"] for _, metrics in evaluations(folder)]


def saved(study):
    """Return the sum of the steps of the newest checkpoints of all trials."""
    steps = [
        max((int(path.stem.removeprefix("ckpt-")) for path in trial.glob("checkpoints/ckpt-*.index")), default=0)
        for trial in study.glob("trial-*")
    ]
    return sum(steps)


def evaluations(folder):
    """Return the steps and the metrics of a run's evaluations."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        (line["step"], {name: value for name, value in line["metrics"].items() if not name.startswith("time/")})
        for line in found
        if line["split"] == "eval"
    ]


PRUNED = """
include "digits.gin"
import slowly
Trainer.best_metric = "accuracy"
Trainer.best_mode = "max"
Trainer.train_steps = 60
Trainer.summary_interval = 10
Trainer.eval_interval = 10
Trainer.checkpoint_interval = 60
Trainer.actions = [@slowly]
mlp.hidden = (16,)
Adam.learning_rate = %search.choice(1e-8, 0.01, 0.02, 1e-9)
"""
SLOWLY = """
import time, gin

@gin.register
def slowly(trainer, summary):
    if trainer.optimizer.learning_rate < 1e-3:
        time.sleep(0.5)  # the study looks five times a second
"""


@pytest.fixture(scope="class")
def pruned(tmp_path_factory, programs):
    """A study whose first five trials learn; the two that follow in a rerun are hopeless. The seeds of the sampler say so."""
    folder = tmp_path_factory.mktemp("pruned")
    (folder / "search.gin").write_text(PRUNED)
    (folder / "slowly.py").write_text(SLOWLY)
    flags = ["-m", "tallyloop.trainer", "--gin_file=search.gin", "--model_dir=runs", "--study=s", "--jobs=2"]
    outputs = []
    for trials in (5, 7, 7):
        done = programs.run([*flags, f"--trials={trials}"], folder)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    return SimpleNamespace(folder=folder / "runs" / "s", outputs=outputs)


@pytest.fixture(scope="class")
def board(pruned, tools):
    """The server of TensorBoard, which has read all trials."""
    with tools.server.TensorBoard(pruned.folder) as board:
        board.wait_for_runs(*(f"trial-{number:04d}/eval" for number in range(7)))
        yield board


@pytest.mark.slow
class TestPruning:
    HOPELESS = ("trial-0005", "trial-0006")

    def test_ends_hopeless_trainings_early(self, pruned):
        first, second, third = pruned.outputs
        assert "Study s: 5 done" in first
        assert "Study s: 5 done, 2 pruned" in second
        assert "Nothing was left to do" in third
        assert re.search(
            r"Trial 5 pruned: accuracy 0\.\d+ by step \d0, worse than the median of the other trials", second
        )
        for name in self.HOPELESS:
            lines = (pruned.folder / name / "metrics.jsonl").read_text().splitlines()
            steps = [each["step"] for each in map(json.loads, lines) if each["split"] == "eval"]
            assert steps[0] == 10
            assert steps[-1] < 60

    def test_is_told_by_the_folder_and_the_book(self, pruned):
        optuna = pytest.importorskip("optuna")
        study = optuna.load_study(study_name="s", storage=f"sqlite:///{pruned.folder}/study.db")
        assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5 + ["PRUNED"] * 2
        for name in self.HOPELESS:
            trial = json.loads((pruned.folder / name / "trial.json").read_text())
            assert (trial["state"], trial["value"]) == ("pruned", None)
            assert "worse than the median" in trial["reason"]
            assert "checkpoints" in {each.name for each in (pruned.folder / name).iterdir()}  # it was saved

    def test_is_told_by_the_report(self, pruned, capsys):
        assert report.main(["tallyloop-report", str(pruned.folder)]) == 0
        out = capsys.readouterr().out
        for name in self.HOPELESS:
            assert re.search(rf"^{name}  pruned ", out, re.MULTILINE)
            assert f"{name}: pruned: by its study: accuracy 0." in out

    def test_is_told_by_hparams(self, board):
        """TensorBoard has no word for it: the rows without success or failure are those pruned."""
        rows = {row["name"]: row for row in board.hparams()}
        assert len(rows) == 7
        assert {row["name"] for row in board.hparams("STATUS_SUCCESS")} == {*rows} - {*self.HOPELESS}
        assert {row["name"] for row in board.hparams("STATUS_UNKNOWN")} == {*self.HOPELESS}
        assert [rows[name]["hparams"]["Adam.learning_rate"] for name in self.HOPELESS] == [1e-9, 1e-8]
        assert all(rows[name]["metricValues"] for name in self.HOPELESS)

    def test_parallel_coordinates_have_a_line_for_each_trial(self, board, tools):
        if (path := tools.browser.find()) is None:
            pytest.skip("no chromium or chrome on this machine: the page of HParams is not tested")
        with tools.browser.Browser(path, 1400, 900) as page:
            page.open(board.url + "#hparams")
            page.wait_for("Trial ID", "eval.accuracy")
            page.click("PARALLEL COORDINATES VIEW")
            deadline = time.monotonic() + 20
            while (lines := page.count("g.foreground > path")) < 7 and time.monotonic() < deadline:
                time.sleep(0.2)
            assert lines == 7
            page.wait_for("Adam.learning_rate", "eval.best/accuracy")


TWENTY = """
include "digits.gin"
Trainer.best_metric = "accuracy"
Trainer.best_mode = "max"
Trainer.train_steps = 20
Trainer.eval_interval = 10
"""
RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
WIDTHS = ("(8,)", "(16,)", "(32,)", "(64,)")


@pytest.mark.slow
class TestTwentyRuns:
    """A grid of real trainings, in HParams."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory, programs):
        folder = tmp_path_factory.mktemp("twenty")
        (folder / "twenty.gin").write_text(TWENTY)
        grid = [
            f"--grid=Adam.learning_rate={','.join(map(str, RATES))}",
            f"--grid=mlp.hidden={','.join(WIDTHS)}",
        ]
        flags = ["--gin_file=twenty.gin", "--model_dir=runs", "--study=s", "--jobs=2", *grid]
        done = programs.run(["-m", "tallyloop.trainer", *flags], folder)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "runs" / "s"

    @pytest.fixture(scope="class")
    @classmethod
    def board(cls, folder, tools):
        with tools.server.TensorBoard(folder) as board:
            board.wait_for_runs(*(f"trial-{number:04d}/eval" for number in range(20)))
            yield board

    def evaluations(self, folder, name):
        lines = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
        return [each["metrics"]["accuracy"] for each in lines if each["split"] == "eval"]

    def test_each_is_a_row_with_its_settings_and_results(self, folder, board):
        rows = board.hparams("STATUS_SUCCESS")
        assert sorted(row["name"] for row in rows) == [f"trial-{number:04d}" for number in range(20)]
        found = {(row["hparams"]["Adam.learning_rate"], row["hparams"]["mlp.hidden"]) for row in rows}
        assert found == {(rate, width) for rate in RATES for width in WIDTHS}
        for row in rows:
            metrics = {(m["name"]["group"], m["name"]["tag"]): m["value"] for m in row["metricValues"]}
            written = self.evaluations(folder, row["name"])
            assert len(written) == 2
            assert metrics["eval", "accuracy"] == pytest.approx(written[-1], rel=1e-6)
            assert metrics["eval", "best/accuracy"] == pytest.approx(max(written), rel=1e-6)

    def test_the_best_row_is_the_best_config(self, folder, board):
        def best(row):
            return next(m["value"] for m in row["metricValues"] if m["name"]["tag"] == "best/accuracy")

        won = max(board.hparams(), key=best)
        text = (folder / "best.gin").read_text()
        assert f"Adam.learning_rate = {won['hparams']['Adam.learning_rate']}\n" in text
        assert f"mlp.hidden = {won['hparams']['mlp.hidden']}\n" in text

    def test_the_page_has_twenty_rows_and_lines(self, folder, board, tools):
        if (path := tools.browser.find()) is None:
            pytest.skip("no chromium or chrome on this machine: the page of HParams is not tested")
        with tools.browser.Browser(path, 1400, 1400) as page:  # high enough for all rows: others are not in the page
            page.open(board.url + "#hparams")
            page.wait_for("Trial ID", "eval.accuracy")
            # The table is as wide as the window was when it was made.
            page.evaluate("window.dispatchEvent(new Event('resize'))")
            page.wait_for(*(f"trial-{number:04d}" for number in range(20)))
            page.click("PARALLEL COORDINATES VIEW")
            deadline = time.monotonic() + 20
            while (lines := page.count("g.foreground > path")) < 20 and time.monotonic() < deadline:
                time.sleep(0.2)
            assert lines == 20
            page.wait_for("Adam.learning_rate", "mlp.hidden", "eval.best/accuracy")
