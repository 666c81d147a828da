"""A checkpoint of every version restores, and its training goes on."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "expected.json").exists())


@pytest.fixture(scope="module")
def training():
    spec = importlib.util.spec_from_file_location("released_training", HERE / "training.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_checkpoint_of_this_version_is_kept():
    assert (HERE.parents[1] / "VERSION").read_text().strip() in VERSIONS, "run tests/released/training.py"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_released_checkpoint_trains_on(training, version, tmp_path):
    expected = json.loads((HERE / version / "expected.json").read_text())
    shutil.copytree(HERE / version, tmp_path / "run")
    saved = training.trainer(tmp_path / "run", training.SAVED)
    assert saved.evaluate()["test"] == pytest.approx(expected["saved"], rel=1e-5)
    assert saved.step == training.SAVED
    end = training.trainer(tmp_path / "run", training.END)
    # Adam amplifies the rounding of a bias before BatchNorm: processors differ by up to 1e-3 after six steps.
    assert end.train_and_eval()["test"] == pytest.approx(expected["end"], rel=2e-3)
    # It can tell: from anywhere else it would come elsewhere.
    assert expected["saved"]["loss"] != pytest.approx(expected["end"]["loss"], rel=1e-2)
