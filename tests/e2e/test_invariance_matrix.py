"""A run gives the same on any number of replicas and workers: the short form of `python -m benchmarks.invariance`."""

import functools
import importlib
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tallyloop.trainer import one_device

ROOT = Path(__file__).parents[2]
STEPS = 15  # two epochs and a bit of the ragged data
NAMES = (
    "plain",
    "masked loss",
    "ragged",
    "clip_global_norm",
    "clipnorm",
    "accumulation",
    "optimizer accumulation",
    "bfloat16",
    "EMA",
    "AdamW",
    "momentum SGD",
    "dropout",
    "synchronized batch norm",
    "jit_compile",
    "large embedding",
    "large embedding, AdamW",
)
FAST = {"masked loss"}  # the others have fast tests in tests/trainer
UNEVEN = {"masked loss", "ragged", "large embedding"}  # of 4 replicas, some have no rows or none that count
ACTING = {*NAMES} - {"plain", "jit_compile", "dropout", "synchronized batch norm"}
BETWEEN_WORKERS = {  # between the two, what adds up between workers in a way of its own
    "2 workers": ("plain", "masked loss", "accumulation", "EMA", "large embedding", "large embedding, AdamW"),
    "2 workers x 2 replicas": ("masked loss", "ragged", "AdamW", "large embedding", "large embedding, AdamW"),
}


@pytest.fixture(scope="module")
def matrix():
    """matrix(name) -> the module of that name in benchmarks/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        yield lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def settings(matrix):
    """The settings by their names."""
    return matrix("invariance.settings").SETTINGS


@pytest.fixture(scope="module")
def run(matrix, mirrored_on):
    """run(setting, replicas) -> what it gives in this process; 1 is one device, without distribution."""
    measure = matrix("invariance.measure").measure
    return lambda setting, replicas: measure(setting, mirrored_on(replicas) if replicas > 1 else one_device(), STEPS)


@pytest.fixture(scope="module")
def alone(run, settings):
    """alone(name) -> what the setting gives on one device."""
    return functools.cache(lambda name: run(settings[name], 1))


@pytest.fixture(scope="module")
def difference(matrix):
    """The function that compares."""
    return matrix("invariance.compare").difference


# --- the same everywhere ---


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in NAMES])
def test_replicas_train_as_one_device(run, alone, settings, difference, name):
    """And not as plain training does: where the model is not another one anyway, the setting has to act."""
    for replicas in (2, 4) if name in UNEVEN else (2,):  # in one test, which measures what they are compared with once
        found = difference(alone(name), [run(settings[name], replicas)])
        assert found.is_within(settings[name]), (replicas, found)
    if name in ACTING:
        found = difference(alone("plain"), [alone(name)])
        assert found.weights > 1e-4 or name == "EMA"  # which changes what is evaluated, not what is trained
        assert found.metrics > (1e-4 if name == "bfloat16" else 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["2 workers", "2 workers x 2 replicas"])
def test_workers_train_as_one_device(matrix, alone, settings, difference, title, programs, monkeypatch):
    """Real processes that are connected over the loopback interface."""
    placements, names = matrix("invariance.placements"), BETWEEN_WORKERS[title]
    loaded = SimpleNamespace(Popen=lambda line, **options: programs.start(line[1:], **options))
    monkeypatch.setattr(placements, "subprocess", loaded)
    placement = placements.PLACEMENTS[title]
    found = placements.results(placement, names, STEPS, limit=240)
    assert len(found) == 2
    for name in names:
        copies = {len(each) for result in found for each in result[name].weights.values()}
        assert copies == {placement.replicas}
        apart = difference(alone(name), [result[name] for result in found])
        assert apart.is_within(settings[name]), (name, apart)


# --- and it could be otherwise ---


def test_a_careless_task_is_beyond_the_tolerance(matrix, run, difference):
    """The mean of each replica's share instead of sums: wrong where 7 rows are shared by two."""
    careless = matrix("invariance.settings").Setting(task=matrix("invariance.tasks").CarelessTask, rows=103)
    found = difference(run(careless, 1), [run(careless, 2)])
    assert not found.is_within(careless)
    assert found.weights > 10 * careless.weights
    assert found.metrics > 10 * careless.metrics


def test_shares_that_are_masked_or_empty(matrix):
    """Replicas come first in a batch as they do by number; the whole data has to have what the names promise."""
    examples = matrix("invariance.examples")
    batches = examples.train(208)["mask"].reshape(13, 16)
    assert not batches[0, :8].any()
    assert batches[0, 8:].any()
    assert not batches[1, :4].any()
    assert batches[1, 4:8].any()
    assert not batches[5].any()
    assert 97 % examples.BATCH == 1
    assert len(examples.test()["x"]) == 103


def test_how_results_are_compared(matrix, difference):
    """By hand: 0.2 of 4, and 0.003 of 0.01; of the metrics 0.1 of at most 1, and 3 of 20."""
    result, tight = matrix("invariance.measure").Result, matrix("invariance.settings").Setting()
    reference = result({"a": np.float32([[1, -4]]), "b": np.float32([[0.01]])}, {"loss": 0.5, "steps": 20.0})
    copies = {"a": np.float32([[1, -4], [1.2, -4]]), "b": np.float32([[0.01], [0.01]])}
    assert difference(reference, [reference, result(copies, reference.metrics)]) == pytest.approx((0.05, 0))
    others = {"a": reference.weights["a"], "b": np.float32([[0.013]])}
    assert difference(reference, [result(others, {"loss": 0.4, "steps": 20})]) == pytest.approx((0.3, 0.1))
    assert difference(reference, [result(others, {"loss": 0.4, "steps": 23})]) == pytest.approx((0.3, 0.15))
    assert difference(reference, [reference]).is_within(tight)
    assert difference(reference, [reference, result({"a": copies["a"]}, {})]) == (math.inf, math.inf)
    broken = result(reference.weights | {"a": np.float32([[1, math.nan]])}, {"loss": math.nan, "steps": 20})
    assert not difference(reference, [broken]).is_within(tight)
    for nearly in ((2e-5, 0), (0, 2e-6), (math.nan, 0), (0, math.nan)):
        assert not matrix("invariance.compare").Difference(*nearly).is_within(tight)


@pytest.mark.slow
def test_a_process_that_fails(matrix):
    placements = matrix("invariance.placements")
    with pytest.raises(placements.ProcessError, match=r"(?s)process 0: exit code 1.*KeyError: 'no such setting'"):
        placements.results(placements.REFERENCE, ["no such setting"], 1)
    with pytest.raises(placements.ProcessError, match="Not done within 0 seconds"):
        placements.results(placements.PLACEMENTS["2 workers"], ["plain"], 1, limit=0.4)


# --- the table ---


@pytest.fixture(scope="module")
def command(matrix):
    """The module of the command."""
    return matrix("invariance.__main__")


def test_the_exit_code_tells_of_a_cell_beyond_its_tolerance(command, matrix, monkeypatch, capsys):
    cell = matrix("invariance.compare").Difference
    cells = {"2 replicas": {"ragged": cell(1e-6, 1e-7)}, "3 workers": {"ragged": cell(2e-5, 1e-7)}}
    monkeypatch.setattr(command, "measure", lambda names: (cells, {}))
    assert command.main(["--only", "ragged"]) == 1
    printed = capsys.readouterr()
    row = printed.out.splitlines()[-1].split("|")
    assert [part.strip() for part in row[1:-1]] == [
        "ragged",
        "1e-05, 1e-06",
        "1.0e-06, 1.0e-07 ✓",
        "2.0e-05, 1.0e-07 ✗",
    ]
    assert printed.err == "Beyond the tolerance: ragged on 3 workers.\n"
    del cells["3 workers"]
    assert command.main(["--only", "ragged"]) == 0


def test_the_page_has_every_setting_and_placement(command, matrix, settings):
    lines = [line.split("|") for line in command.PAGE.read_text().splitlines() if line.startswith("| ")]
    assert [part.strip() for part in lines[0][3:-1]] == [*matrix("invariance.placements").PLACEMENTS]
    assert [line[1].strip() for line in lines[1:]] == [*settings] == [*NAMES], (
        "run python -m benchmarks.invariance --write"
    )
    for line in lines[1:]:
        assert all("✓" in cell for cell in line[3:-1]), line


@pytest.mark.benchmark
def test_the_whole_table(command, capsys):
    """Some minutes; every run has the short form above."""
    assert command.main([]) == 0, capsys.readouterr().out
