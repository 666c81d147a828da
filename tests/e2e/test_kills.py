"""Killed by SIGKILL again and again, the same run comes out: the short form of `python -m benchmarks.survival`.

The runs are forks of a process with TensorFlow loaded; the benchmark kills them while they start, too.
"""

import collections
import importlib
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 3  # in each of two settings


@pytest.fixture(scope="module")
def survival(programs):
    """survival(name) -> the module of that name in benchmarks/survival, whose runs fork; without a name, the command."""

    def start(line, **options):
        return programs.start(line[1:], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        process = importlib.import_module("benchmarks.survival.process")
        patch.setattr(process, "subprocess", SimpleNamespace(Popen=start, STDOUT=subprocess.STDOUT))
        yield lambda name="__main__": importlib.import_module(f"benchmarks.survival.{name}")


@pytest.fixture(scope="module")
def setting(survival):
    """setting(name) -> the setting."""
    return lambda name: survival("settings").SETTINGS[name]


@pytest.fixture(scope="module")
def survived(survival, setting, tmp_path_factory):
    """What became of some kills of 2 replicas on a stream, with accumulation, averages and a loss scale; and the folder."""
    folder = tmp_path_factory.mktemp("two_replicas")
    return survival("kills").survive(setting("two_replicas"), KILLS, 1, folder, print), folder


# --- it survives ---


@pytest.mark.slow
def test_two_replicas_on_a_stream(survived):
    result, _ = survived
    assert result.kills == KILLS
    assert result.differences == []


@pytest.mark.slow
def test_arrays(survival, setting, tmp_path):
    result = survival("kills").survive(setting("arrays"), KILLS, 2, tmp_path, print)
    assert result.kills == KILLS
    assert result.differences == []


@pytest.mark.slow
def test_rows_by_number_in_processes(survival, setting, tmp_path):
    result = survival("kills").survive(setting("rows_processes"), 2, 2, tmp_path, print)
    assert result.kills == 2
    assert result.differences == []


@pytest.mark.benchmark
def test_the_whole_benchmark(survival, capsys):
    """A quarter of an hour; every run has the short form above."""
    assert survival().main(["--kills", "130"]) == 0, capsys.readouterr().out


# --- and the comparison would tell ---

FORGETFUL = """
from tallyloop.data.feeds.stream_feed import StreamFeed

StreamFeed.checkpoint_items = lambda self: {}
"""


@pytest.mark.slow
def test_a_run_that_forgets_its_place_in_the_data_is_found_out(survival, setting, survived, tmp_path):
    """The same control, and one kill after a checkpoint. The weights have to tell, as the place itself is missing in any case."""
    process, moment = survival("process"), survival("moment")
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    forgetful = setting("two_replicas")
    flags = (*forgetful.flags, "--import_module=forgetful")
    with_flags = type(forgetful)(forgetful.title, forgetful.bindings, flags)
    command = process.Command(with_flags, survival("kills").length_for(KILLS), tmp_path / "run", 0.01)
    try:
        command.start()
        process.wait_until(lambda: moment.steps(tmp_path / "run") or not command.is_running(), 120)
        assert command.kill(random.Random(0), lambda: None) == "the process"
        command.start(pause=0)
        command.end()
    finally:
        command.stop()
    found = survival("compare").differences(tmp_path / "run", survived[1] / "control")
    assert [text for text in found if "/kernel/" in text and text.endswith("differs")], found
    assert any(text.startswith("TensorBoard: loss of train") for text in found)
    assert any(text.startswith("metrics.jsonl: train of step") for text in found)


@pytest.mark.slow
def test_what_differs_is_named(survival, survived, tmp_path):
    """A bit of a weight, a line, a point, a file."""
    compare = survival("compare")
    control, run = survived[1] / "control", tmp_path / "run"
    shutil.copytree(control, run)
    assert compare.differences(run, control) == []
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*lines[1:], lines[-1].replace('"loss": ', '"loss": 1')]))
    (run / "checkpoints" / "best.json").write_text("{}\n")
    (run / "checkpoints" / ".unfinished").mkdir()
    next((run / "eval").glob("*tfevents*")).unlink()
    found = compare.differences(run, control)
    end = survival("kills").length_for(KILLS)
    for start in (
        f"metrics.jsonl: eval of step {end} occurs more than once",
        "metrics.jsonl: train of step 10 is in one only",
        f"metrics.jsonl: eval of step {end} differs",
        "checkpoints/best.json: expected that of the control",
        "checkpoints/.unfinished is in one only",
        "TensorBoard: loss of eval differs",
    ):
        assert [text for text in found if text.startswith(start)], (start, found)


# --- the table ---


def test_the_kills_are_shared_out(survival):
    names = list(survival("settings").SETTINGS)
    given = survival().shares(100, names)
    assert sum(given.values()) == 100
    assert min(given.values()) >= 5
    assert survival().shares(7, ["stream"]) == {"stream": 7}


def rows_of(text):
    """A printed table: the first cell of a row -> the others."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {first: others for first, *others in lines}


def test_the_exit_code_tells_of_a_difference(survival, monkeypatch, capsys):
    result = survival("kills").Result
    good = result(hit=collections.Counter({"training": 3}), runs=1)
    bad = result(hit=collections.Counter({"an evaluation": 1}), differences=["metrics.jsonl: ..."], runs=1)
    monkeypatch.setattr(survival(), "measure", lambda *_: {"arrays": good, "stream": bad})
    assert survival().main([]) == 1
    printed = capsys.readouterr().out
    assert "- stream: metrics.jsonl: ..." in printed
    rows = rows_of(printed)
    assert rows["training"] == ["3", "", "3"]
    assert rows["kills"] == ["3", "1", "4"]
    assert rows["equal to the control"] == ["✓", "✗", "✗"]
    bad.differences.clear()
    assert survival().main([]) == 0
    assert "4 kills, 2 runs: each equals its control." in capsys.readouterr().out


def test_the_page_is_that_of_a_hundred_kills_and_all_are_equal(survival):
    text = survival().PAGE.read_text()
    rows = rows_of(text)
    assert rows["killed in"][:-1] == [*survival("settings").SETTINGS]
    assert int(rows["kills"][-1]) >= 100
    assert set(rows["equal to the control"]) == {"✓"}
    assert [title for title in rows if title in survival("moment").MOMENTS] == [*survival("moment").MOMENTS]
