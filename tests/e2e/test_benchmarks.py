"""The commands of the tables with goals: their arithmetic, the table, the page and the exit code; never a timing."""

import contextlib
import importlib
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
COMMANDS = ("eval_throughput", "startup", "checkpoint_stall", "input", "memory", "scaling")


@pytest.fixture(scope="module")
def benchmark():
    """benchmark(name) -> the module of that name in benchmarks/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def command(benchmark, monkeypatch, tmp_path):
    """command(figures, more="") -> a command whose rows have these figures, and whose page is in tmp_path."""
    goals = benchmark("goals")
    monkeypatch.setattr(goals, "DOCS", tmp_path)
    asked = []

    def make(figures, more=""):
        def measure(rows, rounds):
            asked.append(rounds)
            return goals.Measured({row: figures[row] for row in rows}, more)

        return goals.Command("fast", "It is fast", "\nTwo things. In turn.\n", list(figures), measure, 7, "laps")

    make.asked = asked
    return make


def rows_of(text):
    """A printed table: the second cell of a row -> the cells after it."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {line[1]: line[2:] for line in lines}


# --- figures ---

TIMES = {"a": [2.0, 9.0, 4.0], "b": [1.0, 3.0, 4.0]}


def test_a_ratio_is_the_median_of_the_rounds(benchmark):
    goals = benchmark("goals")
    assert goals.figure(goals.Row("g", "t", "a", "b"), TIMES) == 2.0  # of 2, 3 and 1; of the medians it were 4 / 3


def test_a_unit_of_time_makes_a_difference_or_a_time(benchmark):
    goals = benchmark("goals")
    assert goals.figure(goals.Row("g", "t", "a", "b", unit="ms"), TIMES) == 1000.0  # of 1, 6 and 0 seconds
    assert goals.figure(goals.Row("g", "t", "a", unit="us"), TIMES) == 4e6


def test_what_did_not_run_has_no_figure(benchmark):
    goals = benchmark("goals")
    assert goals.figure(goals.Row("g", "t", "a", "jax"), TIMES) is None
    assert goals.figure(goals.Row("g", "t", "jax", unit="ms"), TIMES) is None


def test_each_group_has_its_own_contestants(benchmark):
    goals, paired = benchmark("goals"), benchmark("paired")
    rows = [goals.Row(group, "t", "a", "a") for group in ("one", "two", "one")]
    made = []

    def contestants(group):
        made.append(group)
        return {"a": paired.Calls(lambda: None, 1)}

    assert goals.figures(rows, contestants, 2) == {rows[0]: 1.0, rows[1]: 1.0}
    assert made == ["one", "two"]


def test_only_what_the_rows_need_runs(benchmark):
    """Some contestants take minutes."""
    goals, paired = benchmark("goals"), benchmark("paired")
    ran = []

    def contestant(name):
        def run(halt):
            ran.append(name)
            while True:
                halt()

        return paired.Gated(run, 1)

    made = {name: contestant(name) for name in "abc"}
    goals.figures([goals.Row("g", "t", "a", "b")], lambda group: made, 1)
    assert ran == ["a", "b"]
    assert not made["c"]._thread.is_alive()


def test_what_contestants_print_is_not_shown_and_later_text_is(benchmark, capsys):
    """Each of a `Gated` pair may replace and restore `sys.stdout`, in any order."""
    goals, paired = benchmark("goals"), benchmark("paired")

    def run(halt):
        print("not shown")
        with contextlib.redirect_stdout(io.StringIO()):
            while True:
                halt()

    stdout = sys.stdout
    goals.timed("two", {name: paired.Gated(run, 1) for name in "ab"}, 2)
    assert sys.stdout is stdout
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("sign", "good", "bad"), [("<=", 2.0, 2.1), (">=", 2.0, 1.9), ("==", 2, 3)])
def test_missed(benchmark, sign, good, bad):
    goals = benchmark("goals")
    row = goals.Row("g", "t", goal=(sign, 2))
    assert not goals.missed(row, good)
    assert goals.missed(row, bad)
    assert not goals.missed(row, None)
    assert not goals.missed(row._replace(goal=None), bad)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5, "2.5 s"), (0.0421, "42.1 ms"), (0.000155, "155 us"), (1e-8, "0.01 us")]
)
def test_durations(benchmark, seconds, text):
    assert benchmark("goals").duration(seconds) == text


# --- the command ---


def test_the_exit_code_tells_of_a_missed_goal(benchmark, command, capsys):
    row = benchmark("goals").Row
    good, bad = row("g", "good", goal=("<=", 1.2)), row("g", "bad", goal=(">=", 3))
    other, absent = row("g", "some", unit="us", digits=0), row("h", "absent", goal=("<=", 1))
    figures = {good: 1.0, bad: 2.996, other: 154.7, absent: None}
    assert command(figures).run([]) == 1
    rows = rows_of(capsys.readouterr().out)
    assert rows["good"] == ["1.00", "<= 1.2", ""]
    assert rows["bad"] == ["3.00", ">= 3", "✗"]
    assert rows["some"] == ["155 us", "reported", ""]
    assert rows["absent"] == ["not installed", "<= 1", ""]
    assert command(figures).run(["--only", "good"]) == 0
    assert list(rows_of(capsys.readouterr().out)) == ["what", "good"]


def test_only_what_is_not_there(benchmark, command, capsys):
    assert command({benchmark("goals").Row("g", "good"): 1.0}).run(["--only", "god"]) == 2
    assert "'god'" in capsys.readouterr().err


def test_the_rounds_are_passed_on(benchmark, command):
    made = command({benchmark("goals").Row("g", "t"): 1.0})
    made.run([])
    made.run(["--rounds", "3"])
    assert command.asked == [7, 3]


def test_the_page(benchmark, command, tmp_path, capsys):
    made = command({benchmark("goals").Row("g", "t", goal=("<=", 1)): 0.5}, more="## More")
    assert made.run(["--rounds", "3"]) == 0
    assert not made.page.exists()
    assert made.run(["--write", "--rounds", "3", "--only", "g t"]) == 0
    text = (tmp_path / "fast.md").read_text()
    assert text.startswith(
        "# It is fast\n\nTwo things. In turn.\n\n```bash\npython -m benchmarks.fast --rounds 3 --only 'g t'\n```\n"
    )
    assert rows_of(text)["t"] == ["0.50", "<= 1", ""]
    assert "\n\n## More\n\n3 rounds, measured on " in text
    assert re.search(r"\d+ cores, .*Python 3\..*tensorflow \d.*keras \d.*tallyloop \d", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_all_commands(benchmark, monkeypatch, capsys, name):
    """Each with all its goals met, and then with all missed."""
    module = benchmark(name)
    made = module.COMMAND
    assert made.name == name
    assert len(set(made.rows)) == len(made.rows)

    def figure(row, met):
        sign, limit = row.goal or ("<=", 0)
        return limit if met else limit + (-1 if sign == ">=" else 1)

    has_goals = any(row.goal for row in made.rows)
    for met in (True, False):
        figures = benchmark("goals").Measured({row: figure(row, met) for row in made.rows})
        monkeypatch.setattr(module, "COMMAND", made._replace(measure=lambda *_, figures=figures: figures))
        assert module.main([]) == (1 if has_goals and not met else 0)
    assert ("✗" in capsys.readouterr().out) == has_goals


def test_help(benchmark, capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            benchmark(name).main(["--help"])
        assert f"python -m benchmarks.{name}" in capsys.readouterr().out


# --- what each works out by itself ---


def test_evaluations_by_keras_and_by_hand_are_right(benchmark):
    """Against NumPy; 300 examples, so that the last batch is short."""
    module = benchmark("eval_throughput")
    arrays = module.examples(300)
    model = benchmark("overhead.problem").build_model()
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


def test_evaluations_that_differ_are_no_contest(benchmark):
    module = benchmark("eval_throughput")
    results = dict.fromkeys(module.NAMES, 0.5)
    module.check_same({"by hand": lambda: results, "keras": lambda: results})
    with pytest.raises(AssertionError, match=r"keras differs: \{'loss'"):
        module.check_same({"by hand": lambda: results, "keras": lambda: results | {"loss": 0.6}})


def test_what_a_save_costs(benchmark):
    module = benchmark("checkpoint_stall")
    times = {"with": [5.1, 9.0, 5.2], "without": [5.0, 5.0, 5.0], "synchronous": [1.0, 1.0, 2.0]}
    assert module.lost(times) == pytest.approx(0.1)  # of 0.1, 4 and 0.1
    found = module.in_states({"state": 200, "before": 300, "without": 900, "with": 1050})
    assert found == {module.EXTRA: 0.75, module.WITH: 3.75, module.WITHOUT: 3.0}


def test_the_model_that_is_saved_is_of_50_million_parameters(benchmark):
    large = benchmark("children.large")
    w = large.WIDTH
    parameters = 1025 * w + 2 * (w + 1) * w + (w + 1) * 10
    assert parameters == pytest.approx(50e6, rel=0.01)


def test_growth(benchmark):
    module = benchmark("memory")
    sizes = [(100, 101), (100, 150), (200, 204)]
    found = module.figures_of("2 replicas", [{"10000": 10**6 * a, "100000": 10**6 * b} for a, b in sizes])
    assert {row.title: figure for row, figure in found.items()} == {module.GROWTH: 1.02, module.SIZE: 150}
    assert {row.group for row in found} == {"2 replicas"}


def test_resident_memory(benchmark):
    resident = benchmark("children.resident")
    before = resident.now()
    assert before > 10**8  # TensorFlow is loaded
    resident.reset_peak()
    block = np.ones(10**7)
    assert resident.peak() - before == pytest.approx(block.nbytes, rel=0.2)
    del block
    resident.reset_peak()
    assert resident.peak() - before < 4e7


@pytest.mark.parametrize("make", ["permutations", "shuffled"])
def test_the_pipelines_that_input_is_compared_with_see_each_row_once_an_epoch(benchmark, make):
    batches = [batch.numpy() for batch in getattr(benchmark("input"), make)(12, 4).take(6)]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(np.concatenate(epoch)) == list(range(12))
    assert not np.array_equal(batches[:3], batches[3:])


def test_traces(benchmark):
    module = benchmark("startup")
    rows = [row for row in module.ROWS if row.group == module.TRACES]
    assert [*module.traced(rows, {"train": 1, "eval/test": 2}).values()] == [1, 2]


# --- counted in graphs ---


def test_sums_over_devices_are_counted_in_the_functions_too(benchmark):
    """Two in a loop, of 12 and 8 bytes, one of them in a branch; one on a single device, which is none."""

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
    assert sorted(benchmark("children.counts").reductions(graph)) == [8, 12]


COUNTS = {"size": "large", "metrics": 16, "parameters": 1000, "step": [4000, 8], "summary": [256]}


def test_a_thousand_replicas(benchmark):
    """125 workers: a ring of 124 steps there and back for each of two reductions."""
    counts = benchmark("scaling_counts")
    (count,) = counts.counted({"counts": [COUNTS]})
    load = counts.load(count, 1000, {"plan": 1e-7, "stream": 2e-6})
    assert load.sent == pytest.approx(2 * 124 / 125 * 4008)
    assert load.messages == 2 * 2 * 124
    assert load.reducing == pytest.approx(load.sent / 12.5e9 + 496 * 20e-6)
    assert load.drawing == pytest.approx(64_000 * 1e-7)
    assert load.reading == pytest.approx(64_000 * 2e-6)
    alone = counts.load(count, 8, {"plan": 0.0, "stream": 0.0})
    assert (alone.sent, alone.messages, alone.reducing) == (0, 0, 0)


def test_what_breaks_first_is_named_first(benchmark):
    counts = benchmark("scaling_counts")
    (count,) = counts.counted({"counts": [COUNTS]})
    streams = counts.what_breaks(count, {"plan": 1e-7, "stream": 2e-6})
    assert "1. **Streams.**" in streams
    assert "3. **Row numbers.**" in streams
    assert "1. **The ring's messages.**" in counts.what_breaks(count, {"plan": 1e-9, "stream": 1e-9})


def test_the_sections_of_the_counts(benchmark):
    module = benchmark("scaling_counts")
    found = module.counted({"counts": [COUNTS, COUNTS | {"size": "small", "metrics": 1, "step": []}]})
    text = module.sections({"1 replica": found, "2 workers": found}, {"plan": 1e-7, "stream": 2e-6})
    table = [line for line in text.splitlines() if line.startswith("| 2 workers")]
    assert [cell.strip() for cell in table[0].split("|")[1:-1]] == [
        "2 workers",
        "1,000",
        "16",
        "2",
        "4,008",
        "1",
        "256",
    ]
    assert "## To a thousand replicas" in text
    assert "{" not in text


# --- processes ---


def test_a_child_is_asked_timed_and_told_of(benchmark, tmp_path):
    talking = benchmark("children.talking")
    script = tmp_path / "child.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from benchmarks.children import talking\n"
        "def run(halt):\n"
        "    while True:\n"
        "        print('a line of its own')\n"
        "        halt()\n"
        "talking.halts(run) if len(sys.argv) > 1 else talking.answer({'x': 1})\n"
    )
    line = [sys.executable, str(script)]
    child = talking.Child(line, {})
    assert json.loads(child.read(lambda text: text.startswith("{"))) == {"x": 1}
    child.end()
    child.close()
    timed = talking.Workers([*line, "timed"], [{}], steps=2)
    assert timed.lap() > 0
    assert timed.lap() > 0
    timed.close()
    whole = talking.Whole(lambda: line, lambda text: text.startswith("{"))
    assert whole.lap() > 0
    with pytest.raises(RuntimeError, match=r"exit code 1: [\s\S]*ZeroDivisionError"):
        talking.Whole(lambda: [sys.executable, "-c", "1 / 0"]).lap()
