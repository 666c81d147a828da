"""Randomly damaged files: a clear error or the right result, never a hang, a crash or a bare traceback."""

import subprocess
import sys
from pathlib import Path

import pytest


def damage(count, *kinds):
    command = [sys.executable, Path(__file__).parent / "run.py", str(count), *kinds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0 or not done.stdout.endswith("all done\n"):
        last = done.stdout.split("\n")[-2:]
        pytest.fail(f"code {done.returncode} after {last}:\n{done.stderr[-3000:]}")


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("npz", "idx", "tfrecord"), ("gin", "checkpoints")], ids=", ".join)
def test_two_hundred_files_of_each(kinds):
    """A minute and a half for the 1,000 files."""
    damage(200, *kinds)


@pytest.mark.slow
def test_twenty_files_of_each():
    damage(20, "npz", "idx", "tfrecord", "gin", "checkpoints")
