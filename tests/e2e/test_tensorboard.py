"""What a user sees in TensorBoard: the real server, and its pages in a headless Chromium."""

import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tallyloop.trainer.loop.timing import TIMES

pytestmark = pytest.mark.slow
SHORT = ("Trainer.train_steps=40", "Trainer.summary_interval=10", "Trainer.eval_interval=20")
ACTIONS = "Trainer.actions=[@WriteExamples(), @WriteGraph(), @WriteHistograms(), @Charts(), @Profile()]"
OWN = 'Charts.layout={"own": {"both": ["loss", "accuracy"]}}'


@pytest.fixture(scope="module")
def runs(tmp_path_factory, programs):
    """The folder of seven runs."""
    folder = tmp_path_factory.mktemp("runs")

    def train(name, *params, gin_file="digits.gin", code=0):
        flags = [f"--gin_file={gin_file}", f"--model_dir={folder / name}", *(f"--gin_param={each}" for each in params)]
        done = programs.run(["-m", "tallyloop.trainer", *flags], folder)
        assert done.returncode == code, done.stderr

    train("slow", *SHORT)
    train("fast", *SHORT, "Adam.learning_rate=0.01", ACTIONS, OWN, "Profile.after=12", "Profile.steps=2")
    train("failed", *SHORT, "Adam.learning_rate=1e30", code=1)
    (folder / "resumed").mkdir()
    (folder / "resumed/README.md").write_text("# Why\n\nA **second** rate.")
    train("resumed", "Trainer.train_steps=20", *SHORT[1:], "Trainer.checkpoint_interval=20", "Adam.learning_rate=0.5")
    train("resumed", *SHORT, "Adam.learning_rate=0.002")
    train("auto", *SHORT, "Trainer.actions=[@WriteExamples()]", gin_file="autoencoder.gin")
    for name, *words in (("python",), ("killed", "killed")):
        done = programs.run([Path(__file__).with_name("dashboard_run.py"), folder / name, *words], folder)
        assert done.returncode == (-9 if words else 0), done.stderr
    return folder


SPLITS = (
    *((name, "train", "eval") for name in ("slow", "fast", "resumed", "auto")),
    ("python", "train", "eval/near", "eval/far"),
)
NAMES = ("slow", "fast", "failed", "resumed", "auto", "python", "killed")


@pytest.fixture(scope="module")
def board(runs, tools):
    """The server, which has read all runs."""
    with tools.server.TensorBoard(runs) as board:
        board.wait_for_runs(*NAMES, "slow/eval", "fast/eval", "auto/eval", "python/eval/near", "python/eval/far")
        yield board


@pytest.fixture(scope="module")
def page(board, tools):
    """The browser."""
    if (path := tools.browser.find()) is None:
        pytest.skip("no chromium or chrome on this machine: the pages of TensorBoard are not tested")
    with tools.browser.Browser(path, 1400, 900) as page:
        yield page


def lines(folder, split=None):
    path = folder / "metrics.jsonl"  # which the run that failed at its first step has not
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if split in (None, line["split"])]


def last(folder, split):
    return lines(folder, split)[-1]["metrics"]


class TestHparams:
    @pytest.fixture
    def rows(self, board):
        found = board.hparams()
        assert all(len(each["sessions"]) == 1 for each in found), "none averaged"
        return {each["name"]: each for each in found}

    @pytest.fixture
    def metrics(self, rows):
        """Run -> (group, tag) -> (step, value)."""
        return {
            name: {(m["name"]["group"], m["name"]["tag"]): (m["trainingStep"], m["value"]) for m in row["metricValues"]}
            for name, row in rows.items()
        }

    def test_has_each_run_once(self, rows):
        assert sorted(rows) == sorted(NAMES)

    def test_values_are_typed(self, rows):
        assert {name: row["hparams"].get("Adam.learning_rate") for name, row in rows.items()} == {
            "slow": 0.001, "fast": 0.01, "failed": 1e30, "resumed": 0.002, "auto": 0.001, "python": 0.02, "killed": 0.02,
        }  # fmt: skip
        slow = rows["slow"]["hparams"]
        assert (slow["Input.global_batch_size"], slow["Trainer.task"], slow["mlp.hidden"]) == (
            64,
            "ClassifierTask",
            "(512,)",
        )
        assert "train/Input.shuffle" not in slow  # the default
        assert rows["python"]["hparams"]["Rings.hidden"] == 16

    def test_has_the_last_and_the_best_of_each_evaluation(self, metrics, runs):
        for name, split in (("slow", "eval"), ("resumed", "eval"), ("python", "eval/near"), ("python", "eval/far")):
            written = lines(runs / name, split)
            for metric, best in (("accuracy", max), ("loss", min)):
                values = [line["metrics"][metric] for line in written]
                assert metrics[name][split, metric] == (40, pytest.approx(values[-1], rel=1e-6))
                assert metrics[name][split, f"best/{metric}"] == (40, pytest.approx(best(values), rel=1e-6))

    def test_tells_how_each_run_ended(self, rows):
        assert {name: row["sessions"][0].get("status", "STATUS_UNKNOWN") for name, row in rows.items()} == {
            **dict.fromkeys(NAMES, "STATUS_SUCCESS"), "failed": "STATUS_FAILURE", "killed": "STATUS_UNKNOWN",
        }  # fmt: skip

    def test_table_of_the_page(self, page, board, runs):
        page.open(board.url + "#hparams")
        page.wait_for("Trial ID", "eval.accuracy")
        page.evaluate("window.dispatchEvent(new Event('resize'))")
        text = page.wait_for(*NAMES, f"{last(runs / 'slow', 'eval')['accuracy']:#.5g}")
        assert "Adam.learning_rate" in text
        assert "eval.best/accuracy" in text


class TestScalars:
    def test_are_those_of_metrics_jsonl(self, board, runs):
        tags = board.get("plugin/scalars/tags")
        for name in {*NAMES} - {"killed"}:  # which was killed between two writers
            for split in {line["split"] for line in lines(runs / name)}:
                expected = {}
                for line in lines(runs / name, split):
                    for path, value in line["metrics"].items():
                        if not isinstance(value, list) and path != "loss/total":
                            expected.setdefault(path, []).append((line["step"], np.float32(value)))
                run = f"{name}/{split}"
                assert {tag for tag in tags[run] if not tag.startswith(("best/", "update_ratio/"))} == expected.keys()
                for path, points in expected.items():
                    if path in TIMES:
                        continue
                    shown = board.get("plugin/scalars/scalars", run=run, tag=path)
                    np.testing.assert_equal([(step, np.float32(value)) for _, step, value in shown], points)

    def test_do_not_go_back_after_a_resume(self, board):
        for split in ("train", "eval"):
            steps = [step for _, step, _ in board.get("plugin/scalars/scalars", run=f"resumed/{split}", tag="loss")]
            assert steps == ([10, 20, 30, 40] if split == "train" else [20, 40])

    def test_the_total_loss_is_not_shown_twice(self, board):
        tags = board.get("plugin/scalars/tags")
        assert {"loss", "loss/cross_entropy", "loss/size"} <= tags["python/train"].keys()
        assert not [run for run, found in tags.items() if {"loss/total", "best/loss/total"} & found.keys()]

    def test_several_eval_sets_are_named_alike(self, board):
        runs = {run for run in board.get("runs") if run.startswith("python")}
        assert runs == {"python", "python/train", "python/eval/near", "python/eval/far"}

    def test_scalars_page(self, page, board):
        page.open(board.url + "#scalars")
        page.wait_for("Smoothing", "accuracy", "loss", "learning_rate", "python/eval/near")

    def test_time_series_page(self, page, board, runs):
        page.open(board.url + "#timeseries")
        text = page.wait_for("accuracy", "python/eval/near")
        shown = f"{last(runs / 'slow', 'eval')['accuracy']:.4f}".rstrip("0")
        assert shown in page.wait_for(shown)
        assert "loss/total" not in text


class TestCustomScalars:
    def test_layout_is_made_of_the_metrics(self, board):
        layout = {each["title"]: each for each in board.get("plugin/custom_scalars/layout")["category"]}
        charts = {title: [chart["title"] for chart in each["chart"]] for title, each in layout.items()}
        assert charts["own"] == ["both"]
        assert {"loss and its parts", "loss", "loss/cross_entropy", "loss/size"} <= {*charts["loss"]}
        assert "accuracy" in charts["metrics"]
        assert charts["per class"] == ["f1"]
        assert "time/step_ms" in charts["time"]
        assert layout["time"]["closed"]
        for titles in charts.values():
            assert len(titles) == len({*titles}), "no chart twice, whatever the runs"

    def test_a_chart_has_training_and_every_evaluation(self, board, runs):
        """By the regular expressions that the server hands to the page."""
        layout = board.get("plugin/custom_scalars/layout")["category"]
        charts = [
            (each["title"], chart["title"], chart["multiline"]["tag"]) for each in layout for chart in each["chart"]
        ]
        for group, title, patterns in charts:
            shown = 0
            for name, *splits in SPLITS:
                found = [self.last_points(board, f"{name}/{split}", patterns) for split in splits]
                for split, values in zip(splits, found, strict=True):
                    written = {
                        tag: value for line in lines(runs / name, split) for tag, value in line["metrics"].items()
                    }
                    assert values == pytest.approx({tag: written[tag] for tag in values}, rel=1e-6)
                shown += any(found)
                if group != "time" and not title.startswith("learning_rate"):
                    tags = [{*values} for values in found]
                    assert tags == tags[:1] * len(splits), f"{group}: {title} lacks a curve of {name}"
            assert shown, f"{group}: {title} is empty"

    def test_a_chart_has_all_classes(self, board):
        layout = {each["title"]: each for each in board.get("plugin/custom_scalars/layout")["category"]}
        patterns = layout["per class"]["chart"][0]["multiline"]["tag"]
        for split in ("train", "eval/near", "eval/far"):
            found = self.last_points(board, f"python/{split}", patterns)
            assert sorted(found) == ["f1/class_0", "f1/class_1", "f1/class_2"]

    def last_points(self, board, run, patterns):
        """Tag -> its last value, of what a chart shows of a run."""
        found = {}
        for pattern in patterns:
            found |= board.get("plugin/custom_scalars/scalars", run=run, tag=pattern)["tag_to_events"]
        return {tag: events[-1][2] for tag, events in found.items()}

    def test_page(self, page, board):
        page.open(board.url + "#custom_scalars")
        text = page.wait_for("own", "loss and its parts", "accuracy", "per class", "time")
        assert re.search(r"Matches \(\d+\)", text)


class TestText:
    def read(self, board, run, tag):
        return [each["text"] for each in board.get("plugin/text/text", run=run, tag=tag)]

    def test_tells_how_a_run_was_made(self, board, runs):
        (given,) = self.read(board, "fast", "config/as given")
        assert "Adam.learning_rate = 0.01" in given
        (used,) = self.read(board, "fast", "config/as used")
        assert "Adam.beta_1 = 0.9" in used
        (command,) = self.read(board, "fast", "run/command")
        assert f"--model_dir={runs / 'fast'}" in command
        (model,) = self.read(board, "fast", "model/summary")
        assert "Total params: 38,410" in model
        assert "done" in self.read(board, "fast", "run/end")[0]
        assert "NonFiniteError" in self.read(board, "failed", "run/end")[0]

    def test_of_a_resumed_run_is_that_of_the_last_start(self, board):
        (changes,) = self.read(board, "resumed", "config/changed since the last run")
        assert "Adam.learning_rate: 0.5 -&gt; 0.002" in changes
        assert "Trainer.train_steps: 20 -&gt; 40" in changes
        (readme,) = self.read(board, "resumed", "run/readme")
        assert "<strong>second</strong>" in readme

    def test_page(self, page, board):
        page.open(board.url + "#text")
        page.wait_for("tag:", "config/as given", "Adam.learning_rate = 0.01", "Trainer.train_steps = 40")


class TestImages:
    def picture(self, board, run, tag):
        (image, *_) = board.get("plugin/images/images", run=run, tag=tag)[-1:]
        with urllib.request.urlopen(f"{board.url}data/plugin/images/individualImage?{image['query']}") as answer:
            return Image.open(io.BytesIO(answer.read()))

    def test_confusion_matrix(self, board):
        for split in ("train", "eval/near", "eval/far"):
            assert self.picture(board, f"python/{split}", "confusion").size == (72 + 3 * 80, 72 + 3 * 80)

    def test_examples(self, board, runs):
        tags = board.get("plugin/images/tags")
        assert {"examples/right", "examples/wrong"} <= tags["fast/eval"].keys()
        assert "examples/reconstructions" in tags["auto/eval"]
        assert self.picture(board, "fast/eval", "examples/right").size[0] == 4 * (96 + 8) + 8

    def test_page(self, page, board):
        page.open(board.url + "#images")
        page.wait_for("confusion", "examples/right", "examples/wrong", "examples/reconstructions")


class TestActions:
    def test_graph(self, page, board):
        assert board.get("plugin/graphs/info") == {"fast": {"run": "fast", "tags": {}, "run_graph": True}}
        page.open(board.url + "#graphs")
        page.wait_for("Main Graph", "gradient_tape")

    def test_histograms(self, page, board):
        tags = board.get("plugin/histograms/tags")["fast/train"]
        assert {tag.partition("/")[0] for tag in tags} == {"weights", "gradients"}
        bins = board.get("plugin/histograms/histograms", run="fast/train", tag="weights/mlp/dense/kernel")[-1][2]
        assert sum(count for _, _, count in bins) == 64 * 512
        page.open(board.url + "#histograms")
        page.wait_for("weights", "gradients")

    def test_distributions(self, page, board):
        tags = board.get("plugin/distributions/tags")["fast/train"]
        assert {tag.partition("/")[0] for tag in tags} == {"weights", "gradients"}
        page.open(board.url + "#distributions")
        page.wait_for("Horizontal axis", "weights", "gradients", "fast/train")


class TestProfile:
    """Two steps of the run `fast`."""

    @pytest.fixture
    def session(self, board, runs):
        """The name under which the profiler lists the run."""
        (written,) = (runs / "fast/train/plugins/profile").glob("*/*.xplane.pb")
        if importlib.util.find_spec("tensorboard_plugin_profile") is None:
            pytest.skip("no tensorboard-plugin-profile: the tab Profile is not tested")
        assert board.get("plugins_listing")["profile"]["enabled"]
        assert board.get("plugin/profile/runs") == [f"fast/train/{written.parent.name}"]
        return f"fast/train/{written.parent.name}"

    @pytest.fixture
    def data(self, board, session):
        """data(tool) -> what the profiler shows in it."""

        def read(tool):
            assert tool in board.get("plugin/profile/run_tools", run=session)
            ((host, *_),) = [each.values() for each in board.get("plugin/profile/hosts", run=session, tag=tool)]
            return board.get("plugin/profile/data", run=session, tag=tool, host=host)

        return read

    def test_trace_has_each_step(self, data):
        found = [each for each in data("trace_viewer@")["traceEvents"] if each.get("name") == "train"]
        assert len(found) == 2
        assert found[0]["ts"] + found[0]["dur"] <= found[1]["ts"]

    def test_operations_are_those_of_each_step(self, data):
        rows = [[cell and cell["v"] for cell in row["c"]] for row in data("framework_op_stats")[0]["rows"]]
        products = {name: occurrences for _, _, _, name, occurrences, *_ in rows if "mlp" in name and "MatMul" in name}
        assert products
        assert {*products.values()} == {2}

    def test_page(self, page, board, session):
        page.open(board.url + "#profile")
        page.wait_for("XProf", session, "Overview Page", "Performance Summary")


class TestRunningBoard:
    def test_shows_a_run_that_begins_later(self, runs, board, programs):
        flags = ["--gin_file=digits.gin", f"--model_dir={runs / 'later'}", *(f"--gin_param={each}" for each in SHORT)]
        assert programs.run(["-m", "tallyloop.trainer", *flags], runs).returncode == 0
        board.wait_for_runs("later", "later/eval")
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if "later" in {each["name"] for each in board.hparams("STATUS_SUCCESS")}:
                return
            time.sleep(0.3)
        raise AssertionError("the run has no row")

    def test_shows_the_steps_of_a_run_while_it_trains(self, runs, board, programs):
        params = ("Trainer.train_steps=100000000", "Trainer.summary_interval=100", "Trainer.eval_interval=1000")
        flags = ["--gin_file=digits.gin", f"--model_dir={runs / 'living'}", *(f"--gin_param={each}" for each in params)]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with programs.start(["-m", "tallyloop.trainer", *flags], cwd=runs, env=os.environ, **streams) as living:
            try:
                board.wait_for_runs("living/train", "living/eval")
                seen = [self.last_step(board, living, 0)]
                while len(seen) < 3:
                    seen.append(self.last_step(board, living, seen[-1]))
                assert seen == sorted({*seen})
                assert "living" in {each["name"] for each in board.hparams("STATUS_UNKNOWN", "STATUS_RUNNING")}
            finally:
                living.send_signal(signal.SIGTERM)
            assert living.wait(60) == 42
        (end,) = self.texts(board, "living", "run/end")
        assert re.search(r"PreemptedError: .* step \d+", end)
        assert "living" in {each["name"] for each in board.hparams("STATUS_UNKNOWN")}

    def texts(self, board, run, tag):
        """The texts of a run, once there are some."""
        deadline = time.monotonic() + 30
        while tag not in board.get("plugin/text/tags")[run] and time.monotonic() < deadline:
            time.sleep(0.3)
        return [each["text"] for each in board.get("plugin/text/text", run=run, tag=tag)]

    def last_step(self, board, living, before):
        """The last step that the board shows of the run, once it is later than `before`."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert living.poll() is None
            step = max(
                (step for _, step, _ in board.get("plugin/scalars/scalars", run="living/train", tag="loss")), default=0
            )
            if step > before:
                return step
            time.sleep(0.3)
        raise AssertionError(f"no step after {before}")
