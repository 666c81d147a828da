"""The benchmarks: their arithmetic, tables, pages and exit codes, and their child processes; never a timing."""

import ast
import contextlib
import importlib
import io
import json
import mmap
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "step_overhead": "step_overhead.__main__",
    "eval_throughput": "eval_throughput",
    "startup": "startup.__main__",
    "checkpoint_stall": "checkpoint_stall.__main__",
    "input": "input.__main__",
    "memory": "memory.__main__",
    "scaling": "scaling.__main__",
    "real_models": "real_models.__main__",
    "growth": "growth.__main__",
    "advice": "advice.__main__",
}
everywhere = pytest.mark.parametrize("name", COMMANDS)
TIMES = {"a": [2.0, 9.0, 4.0], "b": [1.0, 3.0, 4.0]}  # seconds per step
COSTS = {"plan": 1e-7, "stream": 2e-6, "own numbers": 3e-7, "own rows": 4e-6, "own shard": 5e-6}  # seconds per example
COUNTS = {"size": "large", "metrics": 16, "parameters": 1000, "step": [4000, 8], "summary": [256]}


@pytest.fixture(scope="module")
def benchmark():
    """benchmark(name) -> the module of that name in benchmarks/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def harness(benchmark):
    """The module of the rows, the goals and the commands."""
    return benchmark("harness.command")


@pytest.fixture(scope="module")
def paired(benchmark):
    """The module of the paired timing."""
    return benchmark("harness.paired")


@pytest.fixture
def command(harness, monkeypatch, tmp_path):
    """command(figures, more="") -> a command whose rows have these figures, and whose page is in tmp_path."""
    monkeypatch.setattr(harness, "DOCS", tmp_path)
    asked = []

    def make(figures, more=""):
        def measure(rows, rounds):
            asked.append(rounds)
            return harness.Measured({row: figures[row] for row in rows}, more)

        return harness.Command(
            name="fast",
            title="It is fast",
            reader="testers",
            shows="how fast it is",
            about="\nTwo things, in turn.\n",
            rows=list(figures),
            measure=measure,
            rounds=7,
            a_round="laps",
        )

    make.asked = asked
    return make


def rows_of(text):
    """A printed table: the second cell of a row -> the cells after it."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {line[1]: line[2:] for line in lines}


class TestFigure:
    def test_ratio_is_the_median_of_the_rounds(self, harness):
        assert harness.figure(harness.Row("g", "t", "a", "b"), TIMES) == 2.0  # of 2, 3, 1; the medians give 4 / 3

    def test_unit_makes_a_difference_or_a_time(self, harness):
        assert harness.figure(harness.Row("g", "t", "a", "b", unit="ms"), TIMES) == 1000.0  # of 1, 6 and 0 seconds
        assert harness.figure(harness.Row("g", "t", "a", unit="us"), TIMES) == 4e6

    def test_absent_contestant_has_none(self, harness):
        assert harness.figure(harness.Row("g", "t", "a", "jax"), TIMES) is None
        assert harness.figure(harness.Row("g", "t", "jax", unit="ms"), TIMES) is None

    def test_of_the_fastest_of_several(self, harness):
        """Of b, whose median is 3, and not of a, whose median is 4; what did not run is left out."""
        several = harness.FASTEST.join(["a", "b", "jax"])
        assert harness.figure(harness.Row("g", "t", several, unit="s"), TIMES) == 3
        assert harness.figure(harness.Row("g", "t", "a", several), TIMES) == 2
        assert harness.figure(harness.Row("g", "t", "jax", several), TIMES) is None

    def test_groups_have_their_own_contestants(self, harness, paired):
        rows = [harness.Row(group, "t", "a", "a") for group in ("one", "two", "one")]
        made = []

        def contestants(group):
            made.append(group)
            return {"a": paired.Calls(lambda: None, 1)}

        assert harness.figures(rows, contestants, 2) == {rows[0]: 1.0, rows[1]: 1.0}
        assert made == ["one", "two"]

    def test_contestants_are_made_anew_for_each_part_of_the_rounds(self, harness, paired):
        made, times = [], {}

        def contestants(group):
            made.append(group)
            return {"a": paired.Calls(lambda: None, 1)}

        harness.figures([harness.Row("g", "t", "a", "a")], contestants, 4, lambda group, found: times.update(found), 3)
        assert made == ["g"] * 3
        assert len(times["a"]) == 6  # two each: at least the four that were asked for

    def test_only_needed_contestants_run(self, harness, paired):
        """Some contestants take minutes."""
        ran = []

        def contestant(name):
            def run(halt):
                ran.append(name)
                while True:
                    halt()

            return paired.Gated(run, 1)

        made = {name: contestant(name) for name in "abc"}
        harness.figures([harness.Row("g", "t", "a", "b")], lambda group: made, 1)
        assert sorted(ran) == ["a", "b"]
        assert not made["c"]._thread.is_alive()

    def test_output_of_contestants_is_hidden(self, harness, paired, capsys):
        """Each of a `Gated` pair may replace and restore `sys.stdout`, in any order; later output is shown."""

        def run(halt):
            print("not shown")
            with contextlib.redirect_stdout(io.StringIO()):
                while True:
                    halt()

        stdout = sys.stdout
        harness.timed("two", {name: paired.Gated(run, 1) for name in "ab"}, 2)
        assert sys.stdout is stdout
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("seconds", "text"), [(2.5, "2.5 s"), (0.0421, "42.1 ms"), (0.000155, "155 us"), (1e-8, "0.01 us")]
    )
    def test_durations(self, benchmark, seconds, text):
        assert benchmark("harness.report").duration(seconds) == text


class TestGoal:
    @pytest.mark.parametrize(("sign", "good", "bad"), [("<=", 2.0, 2.1), (">=", 2.0, 1.9), ("==", 2, 3)])
    def test_missed(self, harness, sign, good, bad):
        row = harness.Row("g", "t", goal=harness.Goal(sign, 2))
        assert not harness.missed(row, good)
        assert harness.missed(row, bad)
        assert not harness.missed(row, None)
        assert not harness.missed(row._replace(goal=None), bad)


class TestMedianInterval:
    """Of n values, k is the largest number with 2 P(fewer than k below the median) <= 5%; the interval is k to n + 1 - k."""

    @pytest.mark.parametrize(
        ("n", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (12, 3, 10), (20, 6, 15), (60, 22, 39)]
    )
    def test_95_percent(self, paired, n, low, high):
        values = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
        assert paired.median_interval(list(values)) == (low, high)

    def test_too_few_values_give_their_range(self, paired):
        assert paired.median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
        assert paired.median_interval([5.0]) == (5.0, 5.0)

    def test_lower_confidence_is_narrower(self, paired):
        """Of 20 values, P(at most 6 below the median) = 0.0577, so 7 to 14 has a confidence of 88.5%."""
        assert paired.median_interval([float(i) for i in range(1, 21)], confidence=0.88) == (7.0, 14.0)


class TestCommand:
    def test_exit_code_tells_of_a_missed_goal(self, harness, command, capsys):
        row, goal = harness.Row, harness.Goal
        good, bad = row("g", "good", goal=goal("<=", 1.2)), row("g", "bad", goal=goal(">=", 3))
        other, absent = row("g", "some", unit="us", digits=0), row("h", "absent", goal=goal("<=", 1))
        figures = {good: 1.0, bad: 2.996, other: 154.7, absent: None}
        assert command(figures).run([]) == 1
        rows = rows_of(capsys.readouterr().out)
        assert rows["good"] == ["1.00", "<= 1.2", ""]
        assert rows["bad"] == ["3.00", ">= 3", "✗"]
        assert rows["some"] == ["155 us", "reported", ""]
        assert rows["absent"] == ["not available", "<= 1", ""]
        assert command(figures).run(["--only", "good"]) == 0
        assert list(rows_of(capsys.readouterr().out)) == ["what", "good"]

    def test_only_without_a_match_lists_the_rows(self, harness, command, capsys):
        assert command({harness.Row("g", "good"): 1.0}).run(["--only", "god"]) == 2
        assert "--only = 'god': expected a part of a row's name, one of\n  g good\n" in capsys.readouterr().err

    def test_rounds_are_passed_on(self, harness, command):
        made = command({harness.Row("g", "t"): 1.0})
        made.run([])
        made.run(["--rounds", "3"])
        assert command.asked == [7, 3]

    def test_page(self, harness, command, tmp_path, capsys):
        made = command({harness.Row("g", "t", goal=harness.Goal("<=", 1)): 0.5}, more="## More")
        assert made.run(["--rounds", "3"]) == 0
        assert not made.page.exists()
        assert made.run(["--write", "--rounds", "3", "--only", "g t"]) == 0
        text = (tmp_path / "fast.md").read_text()
        assert text.startswith(
            "# It is fast\n\nFor testers: how fast it is.\n\n"
            "```bash\npython -m benchmarks.fast --rounds 3 --only 'g t'\n```\n"
        )
        assert rows_of(text)["t"] == ["0.50", "<= 1", ""]
        assert "\n\n## More\n\n3 rounds, measured on " in text
        assert text.endswith(" tallyloop 0.1.0.\n\n## How it is measured\n\nTwo things, in turn.\n")
        assert re.search(r"\d+ cores, .*Python 3\..*tensorflow \d.*keras \d.*tallyloop \d", text)

    @everywhere
    def test_goals_met_and_missed(self, benchmark, harness, monkeypatch, capsys, name):
        """Each command with all its goals met, and then with all missed."""
        module = benchmark(COMMANDS[name])
        made = module.COMMAND
        assert made.name == name
        assert len(set(made.rows)) == len(made.rows)

        def figure(row, met):
            sign, limit = row.goal or ("<=", 0)
            return limit if met else limit + (-1 if sign == ">=" else 1)

        has_goals = any(row.goal for row in made.rows)
        for met in (True, False):
            figures = harness.Measured({row: figure(row, met) for row in made.rows})
            monkeypatch.setattr(module, "COMMAND", made._replace(measure=lambda *_, figures=figures: figures))
            assert module.main([]) == (1 if has_goals and not met else 0)
        assert ("✗" in capsys.readouterr().out) == has_goals

    @everywhere
    def test_help(self, benchmark, capsys, name):
        with pytest.raises(SystemExit):
            benchmark(COMMANDS[name]).main(["--help"])
        assert f"python -m benchmarks.{name}" in capsys.readouterr().out


def prose(text):
    """The lines of a page without tables, errors, figures and the machine."""
    text = re.sub(r"\nErrors:\n\n(\d+\. .*\n)+", "", text)
    lines = [line for line in text.splitlines() if line and not line.startswith("|") and "tensorflow 2" not in line]
    return [re.sub(r"[-+.e\d]*\d[-+.e\d]*", "#", line) for line in lines]


class TestPages:
    """The figures on the pages are of older measurements; the prose is that of the command."""

    @everywhere
    def test_prose_and_rows_of_a_command(self, benchmark, name):
        """A row may be missing where a package was not installed."""
        made = benchmark(COMMANDS[name]).COMMAND
        text = made.page.read_text()
        top, _, rest = made.page_with("", f"python -m benchmarks.{name}", 1).partition("\n```\n")
        assert text.startswith(top), f"run python -m benchmarks.{name} --write"
        assert text.endswith(rest[rest.index("\n## How it is measured\n") :])
        titles = {row.title for row in made.rows}
        assert {title for title in rows_of(text.partition("\n## ")[0]) if title != "what"} <= titles

    def test_prose_of_invariance(self, benchmark):
        module = benchmark("invariance.__main__")
        same = module.Difference(0.0, 0.0)
        made = module.page({"1 replica": {"plain": same}}, {"plain": same, "bfloat16": same}, 1)
        assert prose(module.PAGE.read_text()) == prose(made)

    def test_prose_of_versus_keras(self, benchmark):
        module = benchmark("versus_keras.__main__")
        assert prose(module.PAGE.read_text()) == prose(module.page({n: [] for n in module.REPLICAS}, 1))

    def test_prose_of_survival(self, benchmark):
        module = benchmark("survival.__main__")
        results = {name: module.Result() for name in module.SETTINGS}
        results["two_workers"].victims.update({"the launcher": 1, "worker 0": 1, "worker 1": 1})
        results["rows_processes"].victims.update({"reader 0": 1, "the process": 1})
        line = (
            "python -m benchmarks.survival --kills 140 --jobs 2  # here in parts, the later ones with --kills 30 "
            "--setting rows --setting rows_processes, --kills 10 --setting shards"
        )
        assert prose(module.PAGE.read_text()) == prose(module.page(results, line, 60, module.PAUSE))


class TestEvalThroughput:
    def test_evaluations_by_keras_and_by_hand_are_right(self, benchmark):
        """Against NumPy; 300 examples, so that the last batch is short."""
        module = benchmark("eval_throughput")
        arrays = module.examples(300)
        model = benchmark("harness.problem").build_model()
        logits = model(arrays["x"]).numpy().astype("float64")
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        right, hits = probabilities[range(300), arrays["y"]], logits.argmax(-1) == arrays["y"]
        exact = {
            "loss": -np.log(right).mean(),
            "accuracy": hits.mean(),
            "confidence": probabilities.max(-1).mean(),
            "entropy": -(probabilities * np.log(probabilities)).sum(-1).mean(),
            "probability": right.mean(),
            "brier": ((probabilities - np.eye(10)[arrays["y"]]) ** 2).sum(-1).mean(),
            **{f"recall/{digit}": hits[arrays["y"] == digit].mean() for digit in range(10)},
        }
        weights = model.get_weights()
        assert module.by_hand(arrays, weights)() == pytest.approx(exact, abs=1e-5)
        assert module.by_keras(arrays, weights, 1)() == pytest.approx(exact, abs=1e-5)

    def test_different_results_are_refused(self, benchmark):
        module = benchmark("eval_throughput")
        results = dict.fromkeys(module.NAMES, 0.5)
        module.check_same({"by hand": lambda: results, "keras": lambda: results})
        with pytest.raises(AssertionError, match=r"keras differs: \{'loss'"):
            module.check_same({"by hand": lambda: results, "keras": lambda: results | {"loss": 0.6}})


class TestRealModels:
    def test_each_row_has_its_contestants(self, benchmark):
        torch = {f"torch{how}{pages}" for how in ("", " compile", " products") for pages in ("", " pages")}
        onednn = {f"{one} onednn" for one in ("trainer", "trainer jit", "fit", "fit jit", "fit arrays")}
        not_everywhere = {*torch, *onednn, "jax", "bfloat16"}
        for name, model in benchmark("real_models.__main__").MODELS.items():
            for group in {row.group for row in model.rows}:
                made = model.contestants(group)
                asked = {
                    each
                    for row in model.rows
                    if row.group == group
                    for names in (row.one, row.other)
                    for each in names.split(benchmark("harness.command").FASTEST)
                    if each
                }
                assert (name, asked - made.keys() - not_everywhere) == (name, set())
                for contestant in made.values():
                    contestant.close()

    def test_fit_is_measured_without_the_memory_settings_of_the_trainer(self):
        code = """
from benchmarks.real_models import embedding, networks
from tallyloop.trainer.distribution.startup import keep_freed_memory
networks._makers(networks.NETWORKS["cnn"])["fit"]()
print(keep_freed_memory.cache_info().currsize)
from tallyloop.trainer import Trainer
print(keep_freed_memory.cache_info().currsize)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["0", "1"]

    def test_other_model_is_refused(self, benchmark, capsys):
        with pytest.raises(SystemExit):
            benchmark("real_models.__main__").main(["embeding"])
        assert (
            "MODEL = embeding: expected one of transformer, cnn, tabular, wide, embedding\n" in capsys.readouterr().err
        )


class TestCheckpointStall:
    def test_figures(self, benchmark):
        module = benchmark("checkpoint_stall.__main__")
        times = {"with": [5.1, 9.0, 5.2], "without": [5.0, 5.0, 5.0], "synchronous": [1.0, 1.0, 2.0]}
        assert module.lost(times) == pytest.approx(0.1)  # of 0.1, 4 and 0.1
        found = module.in_states({"state": 200, "before": 300, "without": 900, "with": 1050})
        assert found == {module.EXTRA: 0.75, module.WITH: 3.75, module.WITHOUT: 3.0}

    def test_model_has_50_million_parameters(self, benchmark):
        w = benchmark("checkpoint_stall.large").WIDTH
        parameters = 1025 * w + 2 * (w + 1) * w + (w + 1) * 10
        assert parameters == pytest.approx(50e6, rel=0.01)


class TestMemory:
    def test_figures(self, benchmark):
        module = benchmark("memory.__main__")
        sizes = [(100, 101), (100, 150), (200, 204)]
        for setting, end in (("2 replicas", "100000"), ("stream", "1000000")):
            found = module.figures_of(setting, [{"10000": 10**6 * a, end: 10**6 * b} for a, b in sizes])
            assert {row.title: figure for row, figure in found.items()} == {module.GROWTH: 1.02, module.SIZE: 150}
            assert {row.group for row in found} == {setting}

    def test_resident_memory(self, benchmark):
        child = benchmark("harness.child")
        before = child.resident_memory()
        assert before > 10**8  # TensorFlow is loaded
        child.reset_peak_memory()
        size = 8 * 10**7
        with mmap.mmap(-1, size) as block:  # which goes back to the system, whatever malloc keeps
            for _ in range(80):
                block.write(b"x" * 10**6)
            found = child.peak_memory()
        assert found - before == pytest.approx(size, rel=0.2)
        child.reset_peak_memory()
        assert child.peak_memory() - before < 4e7


class TestInput:
    @pytest.mark.parametrize("make", ["permutations", "shuffled"])
    def test_pipelines_read_each_row_once_per_epoch(self, benchmark, make):
        batches = [batch.numpy() for batch in getattr(benchmark("input.in_memory"), make)(12, 4).take(6)]
        for epoch in (batches[:3], batches[3:]):
            assert sorted(np.concatenate(epoch)) == list(range(12))
        assert not np.array_equal(batches[:3], batches[3:])

    def test_batches_as_fit_reads_them(self, benchmark, tmp_path):
        """Of 130 rows two full batches, by a private name of Keras."""
        libraries, on_disk = benchmark("input.libraries"), benchmark("input.on_disk")
        on_disk.saved({"x": np.zeros((130, 3), np.float32), "y": np.arange(130)}, tmp_path / "rows")
        batches = list(libraries.py_dataset(tmp_path / "rows").take(2))
        assert [x.shape.as_list() for x, _ in batches] == [[64, 3]] * 2
        assert len(set(np.concatenate([y for _, y in batches]).tolist())) == 128


class TestStartup:
    def test_traces(self, benchmark):
        module = benchmark("startup.__main__")
        rows = [row for row in module.ROWS if row.group == module.TRACES]
        assert [*module.traced(rows, {"train": 1, "eval/test": 2}).values()] == [1, 2]


class TestArrays:
    def test_batches_take_each_row_once_an_epoch(self, benchmark):
        """Of 10 rows, two batches of 4 an epoch."""
        found = benchmark("real_models.arrays").batches(seed=1, rows=10, batch=4, steps=5)
        assert found.shape == (5, 4)
        for epoch in (found[:2], found[2:4]):
            assert len({*epoch.ravel()}) == 8
        assert {*found[:2].ravel()} != {*found[2:4].ravel()} or not np.array_equal(found[:2], found[2:4])

    def test_each_model_has_its_data(self, benchmark):
        module = benchmark("real_models.arrays")
        for data in (module.tokens(), module.images(), module.table(), module.clicks(100)):
            assert len(data["x"]) == len(data["y"])
            assert data["x"].std() > 0
        tokens = module.tokens()
        assert np.array_equal(tokens["x"][:, 1:], tokens["y"][:, :-1])


class TestGrowth:
    def test_exponent_is_that_of_the_last_points(self, benchmark):
        """Twice as large is 4 times as dear, after a first point that a constant hides."""
        assert benchmark("growth.__main__").exponent([1, 10, 20, 40], [500, 100, 400, 1600]) == pytest.approx(2)

    def test_sizes(self, benchmark):
        module = benchmark("growth.training")
        assert module.size_of("metrics, 2 replicas", 256) == module.Size(metrics=256, replicas=2)
        assert module.size_of("rows", 10**9) == module.Size(rows=10**9)
        assert module.size_of("vocabulary, 2 workers", 256) == module.Size(vocabulary=256, workers=2)
        for parameters in (10**4, 10**6):
            size = module.size_of("parameters", parameters)
            assert size.steps == 5 * module.LAPS  # on the whole axis
            model = module.Grown(size).build_model()
            assert model.count_params() == pytest.approx(parameters, rel=0.03)

    def test_costs_of_a_training(self, benchmark, tmp_path, monkeypatch, mirrored_on):
        """On 2 replicas: a float32 for each of the parameters, and a loss and its count."""
        module = benchmark("growth.training")
        monkeypatch.setattr(module, "make_strategy", lambda workers, replicas: mirrored_on(replicas))
        size = module.size_of("replicas", 2)._replace(steps=4 * module.LAPS)
        parameters = module.Grown(size).build_model().count_params()
        found = module.measure(size, tmp_path)
        assert found["reduced"] == 4 * parameters + 8
        assert 4 * parameters < found["checkpoint"] < 4 * parameters + 20_000
        assert found["start"] > found["step"] > 0


class TestAdvice:
    PRINTED = """setting   step time  of given
as given    1.10 ms            673 ms
no oneDNN   1.51 ms      1.37

Fastest: best + intra-op threads = 1. 0.68 (0.68 to 0.69) times the time per example, 752 us per step.
  Note: the examples come in another order.
  In the config:
      import tallyloop.data
      train/Input.cache = True
  Before the command:
      TF_NUM_INTRAOP_THREADS=1 TF_ENABLE_ONEDNN_OPTS=0

Faster, but trains differently: best + global_batch_size = 128. 0.46 (0.45 to 0.48) times the time per example, 972 us per step.
  In the config:
      train/Input.global_batch_size = 128
"""

    def test_is_what_trains_the_same(self, benchmark):
        found = benchmark("advice.__main__").advice_in(self.PRINTED)
        assert found.name == "best + intra-op threads = 1"
        assert found.ratio == 0.68
        assert found.flags == ("--import_module=tallyloop.data", "--gin_param=train/Input.cache = True")
        assert dict(found.environment) == {"TF_NUM_INTRAOP_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "0"}

    def test_to_keep_the_config(self, benchmark):
        module = benchmark("advice.__main__")
        kept = "Keep the config as it is: no setting that"
        assert module.advice_in(kept) == module.Advice()
        found = module.advice_in(f"jit_compile = True      711 us      1.04     0.62-0.65\n\n{kept}")
        assert (found.ratio, found.flags) == (1.04, ("--gin_param=Trainer.jit_compile = True",))

    def test_step(self, benchmark):
        assert benchmark("advice.__main__").step_of_given(self.PRINTED) == pytest.approx(1.1e-3)

    def test_made_rows_have_the_columns_of_the_bundled_config(self, benchmark):
        (columns,) = re.findall(r"TabularTask.numeric = (.*)", (ROOT / "gin/tabular.gin").read_text())
        assert benchmark("advice.configs").made_rows().keys() == {"sex", "progression", *ast.literal_eval(columns)}


class TestScaling:
    def test_sums_over_devices_are_counted_in_functions_too(self, benchmark):
        """Two in a loop, of 12 and 8 bytes, one of them in a branch; the sum on a single device is none."""

        def on(device, shape):
            with tf.device(f"/cpu:{device}"):
                return tf.random.uniform(shape)

        @tf.function
        def function(flag):
            for _ in tf.range(3):
                tf.print(tf.add_n([on(0, [3]), on(1, [3]), on(2, [3])]))
                if flag:
                    tf.print(tf.add_n([on(0, [2]), on(1, [2])]))
                tf.print(tf.add_n([on(1, [7]), on(1, [7])]))

        graph = function.get_concrete_function(tf.TensorSpec([], tf.bool)).graph
        assert sorted(benchmark("scaling.counts").reductions(graph)) == [8, 12]

    def test_graphs_of_a_training(self, benchmark, mirrored_on):
        """On two replicas: a float32 for each of the 9,610 parameters, and a loss and its count; one reduction per summary."""
        found = benchmark("scaling.counts").count("small", 16, mirrored_on(2))
        assert found["parameters"] == 64 * 128 + 128 + 128 * 10 + 10
        assert sum(found["step"]) == 4 * found["parameters"] + 8
        assert found["summary"] == [16 * 16]

    def test_projection_to_a_thousand_replicas(self, benchmark):
        """125 workers: a ring of 124 messages there and back for each of two reductions."""
        projection = benchmark("scaling.projection")
        (count,) = projection.counted({"counts": [COUNTS]})
        load = projection.load(count, 1000, COSTS)
        assert load.sent == pytest.approx(2 * 124 / 125 * 4008)
        assert load.messages == 2 * 2 * 124
        assert load.reducing == pytest.approx(load.sent / 12.5e9 + 496 * 20e-6)
        assert load.drawing == pytest.approx(64_000 * 1e-7)
        assert load.reading == pytest.approx(64_000 * 2e-6)
        alone = projection.load(count, 8, COSTS)
        assert (alone.sent, alone.messages, alone.reducing) == (0, 0, 0)
        for replicas, own in ((1, 64), (8, 512), (10_000, 512)):
            load = projection.load(count, replicas, COSTS)
            assert (load.numbers, load.rows, load.shard) == pytest.approx((own * 3e-7, own * 4e-6, own * 5e-6))

    def test_largest_cost_comes_first(self, benchmark):
        projection = benchmark("scaling.projection")
        (count,) = projection.counted({"counts": [COUNTS]})
        streams = projection.what_breaks(count, COSTS)
        assert "1. **Streams that are not cut.**" in streams
        assert "3. **Row numbers of arrays.**" in streams
        assert "1. **The ring's messages.**" in projection.what_breaks(count, COSTS | {"plan": 1e-9, "stream": 1e-9})

    def test_sections(self, benchmark):
        projection = benchmark("scaling.projection")
        found = projection.counted({"counts": [COUNTS, COUNTS | {"size": "small", "metrics": 1, "step": []}]})
        text = projection.sections({"1 replica": found, "2 workers": found}, COSTS)
        table = [line for line in text.splitlines() if line.startswith("| 2 workers")]
        expected = ["2 workers", "1,000", "16", "2", "4,008", "1", "256"]
        assert [cell.strip() for cell in table[0].split("|")[1:-1]] == expected
        assert "## To ten thousand replicas" in text
        assert "{" not in text


class TestAgainst:
    """`python -m benchmarks.step_overhead --against CHECKOUT`."""

    @pytest.fixture
    def against(self, benchmark):
        """The module that compares two checkouts."""
        return benchmark("step_overhead.against")

    def test_packages_are_laid_out_as_installed(self, against, tmp_path):
        for name in ("trainer", "metrics"):
            (tmp_path / "checkout" / "src" / name).mkdir(parents=True)
        (tmp_path / "checkout" / "pyproject.toml").write_text(
            '[tool.setuptools.package-dir]\n"tallyloop.trainer" = "src/trainer"\n"tallyloop.metrics" = "src/metrics"\n'
        )
        made = against.installed(tmp_path / "checkout", tmp_path / "links")
        assert (made / "tallyloop" / "trainer").resolve() == (tmp_path / "checkout" / "src" / "trainer").resolve()
        assert (made / "tallyloop" / "metrics").resolve() == (tmp_path / "checkout" / "src" / "metrics").resolve()
        assert not (made / "tallyloop" / "data").exists()

    def test_other_folder_is_refused(self, against, tmp_path):
        with pytest.raises(ValueError, match=r"--against = .*: expected a checkout of Tallyloop"):
            against.installed(tmp_path, tmp_path / "links")

    def test_table(self, against):
        """The median of five ratios is the third; their interval is their range."""
        equal = against.table({against.ROWS[0]: [2.0, 1.0, 1.02, 1.03, 0.9]})
        assert rows_of(equal)["this checkout / the other"] == ["1.020", "0.900 to 2.000", "<= 1.03", ""]
        slower = against.table({against.ROWS[0]: [1.0, 1.031, 1.04]})
        assert rows_of(slower)["this checkout / the other"] == ["1.031", "1.000 to 1.040", "<= 1.03", "✗"]

    def test_exit_code_and_rows(self, benchmark, against, monkeypatch, capsys):
        """3% slower is as good as equal, 4% is not; `--only` chooses rows; there is no page."""
        main, asked = benchmark("step_overhead.__main__").main, []

        def ratios(slower):
            def measured(variant, roots, rounds):
                asked.append((variant, rounds))
                return [slower] * rounds

            return measured

        monkeypatch.setattr(against, "_ratios", ratios(1.03))
        assert main(["--against", str(ROOT), "--only", "2 rep", "--rounds", "4"]) == 0
        assert asked == [("2 replicas", 4)]
        monkeypatch.setattr(against, "_ratios", ratios(1.04))
        assert main(["--against", str(ROOT)]) == 1
        compiled = ["1 replica, jit_compile", "1 replica, jit_compile, a stream"]
        assert [variant for variant, _ in asked[1:]] == ["1 replica", "2 replicas", *compiled]
        assert main(["--against", str(ROOT), "--only", "jot"]) == 2
        with pytest.raises(SystemExit):
            main(["--against", str(ROOT), "--write"])
        assert "leave out --write" in capsys.readouterr().err

    @pytest.mark.slow
    def test_checkout_against_itself(self, benchmark, capsys):
        """Real children, a few rounds; how fast they are is not judged."""
        main = benchmark("step_overhead.__main__").main
        assert main(["--against", str(ROOT), "--only", "2 replicas", "--rounds", "2"]) in (0, 1)
        ratio = float(rows_of(capsys.readouterr().out)["this checkout / the other"][0])
        assert 0.2 < ratio < 5

    @pytest.mark.slow
    def test_child_refuses_another_installation(self, benchmark, tmp_path):
        processes = benchmark("harness.processes")
        line = processes.command("step_overhead.training", tmp_path, "1 replica", tmp_path / "run")
        with pytest.raises(RuntimeError, match=rf"exit code 1: [\s\S]*not in {re.escape(str(tmp_path))}"):
            processes.LapProcesses(line, [{}], 1).lap()


class TestDashboard:
    @pytest.mark.slow
    def test_writes_the_pictures_of_the_readme(self, tools, tmp_path):
        """The real command: it trains seven runs."""
        if tools.browser.find() is None:
            pytest.skip("no chromium or chrome on this machine: the pictures of TensorBoard are not tested")
        line = [sys.executable, "-m", "benchmarks.dashboard", f"--images={tmp_path}"]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        shown = set(re.findall(r"\(docs/images/(\w+\.png)\)", (ROOT / "README.md").read_text()))
        assert {path.name for path in tmp_path.iterdir()} == shown
        for path in tmp_path.iterdir():
            with Image.open(path) as image:
                assert image.size == (1280, 720)
                assert len(image.getcolors()) > 50, f"{path.name} is nearly empty"


class TestProcesses:
    @pytest.fixture
    def line(self, tmp_path):
        """The command line of a child that answers, or runs lap by lap if it has an argument."""
        script = tmp_path / "child.py"
        script.write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT)!r})\n"
            "from benchmarks.harness import child\n"
            "def run(halt):\n"
            "    while True:\n"
            "        print('a line of its own')\n"
            "        halt()\n"
            "child.run_in_laps(run) if len(sys.argv) > 1 else child.answer({'x': 1})\n"
        )
        return [sys.executable, str(script)]

    @pytest.fixture
    def processes(self, benchmark):
        """The module that starts them."""
        return benchmark("harness.processes")

    def test_child_answers(self, processes, line):
        child = processes.Child(line, {})
        assert json.loads(child.read(lambda text: text.startswith("{"))) == {"x": 1}
        child.wait()
        child.close()

    def test_child_runs_laps(self, processes, line):
        timed = processes.LapProcesses([*line, "timed"], [{}], steps=2)
        assert timed.lap() > 0
        assert timed.lap() > 0
        timed.close()

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_child_is_stopped_between_its_laps(self, processes, line):
        alone, workers = (processes.LapProcesses([*line, "timed"], [{}] * n, steps=2) for n in (1, 2))
        for each, expected in ((alone, ["T"]), (workers, ["S", "S"])):
            each.lap()
            files = [Path(f"/proc/{child._process.pid}/stat") for child in each._children]
            until = time.monotonic() + 10
            while (states := [file.read_text().rpartition(")")[2].split()[0] for file in files]) != expected:
                assert time.monotonic() < until, states
                time.sleep(0.01)
            assert each.lap() > 0
            each.close()

    def test_whole_process_is_a_lap(self, processes, line):
        whole = processes.WholeProcess(lambda: line, lambda text: text.startswith("{"))
        assert whole.lap() > 0
        whole.close()

    def test_failure_shows_the_end_of_its_output(self, processes):
        with pytest.raises(RuntimeError, match=r"exit code 1: [\s\S]*ZeroDivisionError"):
            processes.WholeProcess(lambda: [sys.executable, "-c", "1 / 0"]).lap()
