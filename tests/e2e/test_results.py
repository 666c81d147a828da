"""`python -m benchmarks.results`: goals, the page whose parts are renewed, curves, references; never what a config reaches."""

import importlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results.md").read_text()


@pytest.fixture(scope="module")
def results():
    """results(name) -> the module of that name in benchmarks/results/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.results.{name}")


@pytest.fixture
def run(results, tmp_path):
    """A run with two evaluations."""
    lines = [
        (1, "train", {"loss": 9.0}),
        (1, "eval", {"loss": 3.0}),
        (2, "train", {"x": 1.0}),
        (2, "eval", {"loss": 2.0}),
    ]
    text = "\n".join(json.dumps({"step": step, "split": split, "metrics": found}) for step, split, found in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    return results("run").Run("digits", ("a=1", f'text.path="{tmp_path}"'), tmp_path, 12.3)


class TestGoal:
    @pytest.mark.parametrize(
        ("goal", "figure", "reference", "missed"),
        [
            (("<=", 2.0), 2.0, None, False),
            (("<=", 2.0), 2.1, None, True),
            ((">=", 0.5, True), 0.9, 2.0, True),
            (("<=", 0.5, True), 0.9, 2.0, False),
            (("<=", 0.5, True), 0.9, None, False),  # without its reference, it cannot be missed
        ],
    )
    def test_missed(self, results, goal, figure, reference, missed):
        assert results("config").Goal(*goal).missed(figure, reference) is missed

    def test_text(self, results):
        config = results("config")
        goals = (config.Goal("<=", 1.9), config.BELOW, config.Goal("<=", 0.5, True))
        assert [goal.text for goal in goals] == ["<= 1.9", "<= the reference", "<= 0.5 of the reference"]


class TestRun:
    def test_reads_the_metrics(self, run, results):
        assert run.points("loss") == [(1, 3.0), (2, 2.0)]
        assert run.points("loss", "train") == [(1, 9.0)]
        assert run.splits == ["train", "eval"]
        assert results("config").last("loss")(run) == 2.0

    def test_line_tells_no_folders(self, run):
        start = "tallyloop --gin_file=digits.gin --model_dir=runs/digits --gin_param=a=1 '--gin_param=text.path="
        assert run.line == f"""{start}"{run.folder.name}"'"""


class TestPage:
    @pytest.fixture
    def part(self, results, run):
        """part(name, figure) -> a part of the page."""

        def make(name, figure):
            module, config = results("page"), results("config")
            described = config.Config(name, "a task", "Look at it.", (), curve="loss")
            rows = [
                module.Measured(config.Figure("loss", None, config.Goal("<=", 1.0), digits=1), figure, None),
                module.Measured(config.Figure("time", None), None, config.Reference("theirs", 0.5)),
            ]
            return module.part_of(described, run, rows, seed=0)

        return make

    def test_says_what_was_measured(self, part):
        lines, section = part("digits", 2.0)
        assert [list(line) for line in lines] == [
            ["`digits.gin`", "a task", "loss", "2.0", "<= 1", "", "✗"],
            ["", "", "time", "not measured", "reported", "theirs: 0.5000", ""],
        ]
        assert "Look at it." in section
        assert "12 s from start to end" in section

    def test_other_parts_stay(self, results, part, tmp_path):
        """Of two configs, one is measured again."""
        write, kept = results("__main__").write, results("page").kept
        write({"digits": part("digits", 2.0), "autoencoder": part("autoencoder", 0.5)}, {"digits": "<svg/>"}, tmp_path)
        before = kept(tmp_path / "results.md")
        write({"digits": part("digits", 0.7)}, {}, tmp_path)
        after = kept(tmp_path / "results.md")
        assert list(after) == ["digits", "autoencoder"]
        assert after["autoencoder"] == before["autoencoder"]
        assert after["digits"].lines[0][3] == "0.7"
        assert (tmp_path / "images/digits.svg").read_text() == "<svg/>"

    def test_unknown_config(self, results, capsys):
        assert results("__main__").main(["digit"]) == 2
        assert "'digit': expected the name of a config, one of digits, " in capsys.readouterr().err


# What another config's part of the page tells.
PARTS = {"distil_teacher": "distil", "image_folder_all": "image_folder", "image_folder_head": "image_folder"}


class TestConfigs:
    def test_each_is_measured_or_a_part_of_another(self, results):
        measured = [config.name for config in results("configs").CONFIGS]
        assert len(set(measured)) == len(measured)
        assert sorted([*measured, *PARTS]) == sorted(path.stem for path in (ROOT / "gin").glob("*.gin"))

    def test_each_has_its_row_and_section(self, results):
        page = results("page").kept(ROOT / "docs" / "results.md")
        for config in results("configs").CONFIGS:
            assert config.look_at.strip() in page[config.name].section, config.name
            assert [line[2] for line in page[config.name].lines] == [figure.what for figure in config.figures]
        for part, whole in PARTS.items():
            assert f"{part}.gin" in page[whole].section

    def test_no_goal_is_missed_but_the_times_beside_pytorch(self):
        missed = [cells for line in PAGE.splitlines() if (cells := line.split("|"))[-2:-1] == [" ✗ "]]
        assert [(cells[3].strip(), cells[4].strip()) for cells in missed] == [
            ("time of a step / nanoGPT's in PyTorch", "1.29"),
            ("the same with `jit_compile`", "1.01"),
        ]

    def test_the_readme_shows_three_of_them(self):
        """Its numbers are those of the page, shortened."""
        table = re.search(r"(?s)## Configs to copy.*?(?=\n## )", (ROOT / "README.md").read_text())[0]
        for picture in (pictures := re.findall(r"!\[[^]]*\]\((docs/images/\w+\.svg)\)", table)):
            assert (ROOT / picture).exists()
        assert len(pictures) == 3
        told = {
            "text_classifier": "95.8% of the test lines; TF-IDF and logistic regression 93.8%",
            "tabular": "RMSE 57.4 on diabetes, ridge 58.4; 0.32 and 1.61 on a table with interactions",
            "two_tower": "recall at 10 of 0.79; canonical correlation 0.46",
        }
        assert all(f"`{config}.gin`: {words} |" in table for config, words in told.items())
        found = ["0.9581", "0.9380", "57.43", "58.35", "0.324", "1.610", "0.7939", "0.4568"]
        assert [number for number in found if number not in PAGE] == []

    def test_digits_cnn_has_a_goal(self, results):
        (config,) = (each for each in results("configs").CONFIGS if each.name == "digits_cnn")
        assert [figure.goal for figure in config.figures] == [(">=", 0.985, False)]


class TestGuide:
    def test_says_what_stands_there(self, results):
        for sight in results("guide").SIGHTS:
            file = ROOT / "models" / sight.model if sight.model else ROOT / "gin" / f"{sight.config}.gin"
            assert sight.text in file.read_text(), sight
            assert (ROOT / "gin" / f"{sight.config}.gin").is_file()

    def test_each_config_shows_something(self, results):
        shown = {sight.config for sight in results("guide").SIGHTS}
        assert shown >= {path.stem for path in (ROOT / "gin").glob("*.gin")}

    def test_is_on_the_page(self, results):
        text = (ROOT / "docs" / "results.md").read_text()
        listed = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "](../gin/" in line]
        assert [row for row in listed if len(row) == 3] == results("guide").rows()


class TestCurves:
    def test_picture(self, results):
        """The first point of the line is at the left; the largest value is above the smallest; 200 points are enough."""
        curves = {"train": [(step, 2 - step / 1000) for step in range(1000)], "eval": [(500, 1.0), (900, float("nan"))]}
        picture = ElementTree.fromstring(results("curves").svg("a.gin", "loss <", curves))
        lines = [each.get("points").split() for each in picture.iter() if each.tag.endswith("polyline")]
        first, end = ([float(number) for number in place.split(",")] for place in (lines[0][0], lines[0][-1]))
        assert first[0] < end[0]
        assert first[1] < end[1]
        assert [len(line) for line in lines] == [200, 1]

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (3.0, 3.0), (-2e-5, 7e-5), (57.4, 88.1), (0.0, 0.0)])
    def test_ticks_enclose(self, results, low, high):
        ticks = results("curves")._ticks(low, high)
        assert ticks[0] <= low <= high <= ticks[-1]
        assert 2 <= len(ticks) <= 9


class TestReferences:
    def test_ridge(self, results):
        """A line with weights: the rows of weight 0 do not count."""
        x = np.linspace(-1, 1, 50)
        table = {"x": x, "kind": np.array(["a", "b"] * 25), "w": np.r_[np.zeros(10), np.ones(40)], "y": 3 * x}
        wrong = {**table, "y": np.r_[np.full(10, 99.0), 3 * x[10:]]}
        assert results("configs.tables").ridge_rmse(wrong, table, "y", "w") < 0.1

    def test_pca_of_all_components_is_exact(self, results):
        assert results("configs.digits").pca_error(64) < 1e-10

    def test_schedule_of_nanogpt(self, results):
        """1e-3 / 101 at first, 1e-3 after 100 steps, 1e-4 at the end."""
        pytest.importorskip("torch")
        rate = results("nanogpt").rate
        assert [rate(0), rate(100), rate(2000)] == pytest.approx([1e-3 / 101, 1e-3, 1e-4])


class TestArithmetic:
    def test_neighbors_of_the_same_kind(self, results):
        """In vectors and in images of one number each."""
        alike = results("configs.images").neighbors_alike
        real, made = np.array([[0.0], [1.2], [10.0]]), np.array([[2.0], [2.1], [9.0]]).reshape(3, 1, 1, 1)
        # 0 -> 1.2 alike; 1.2 -> 2.0 not; 10 -> 9 not; 2.0 -> 2.1 alike; 2.1 -> 2.0 alike; 9 -> 10 not.
        assert alike(real, made) == pytest.approx(3 / 6)

    def test_recall(self, results):
        """Ranks of the diagonal: 1, 2 (a tie counts against it), 3."""
        scores = np.array([[3.0, 1.0, 2.0], [2.0, 2.0, 1.0], [9.0, 8.0, 7.0]])
        recall = results("configs.pairs").recall
        assert [recall(scores, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
