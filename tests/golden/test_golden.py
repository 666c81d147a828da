"""The mathematics of the bundled configs, step by step, against the losses that are kept beside this file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KEPT = json.loads((HERE / "losses.json").read_text())


@pytest.fixture(scope="module")
def found():
    """In a process of its own: float64 and determinism are settings of the whole process."""
    done = subprocess.run([sys.executable, HERE / "losses.py"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("config", ["digits.gin", "autoencoder.gin", "digits_cnn.gin"])
def test_losses_are_exactly_those_that_are_kept(found, config):
    assert len(KEPT[config]) == 100
    assert found[config] == KEPT[config], (
        f"{config}: the mathematics has changed. If that is meant, say so in CHANGELOG.md and run "
        "`python tests/golden/losses.py --write`."
    )
