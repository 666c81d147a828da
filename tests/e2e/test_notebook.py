"""The cells of a notebook, in one kernel: those of docs/python.md, and a task that is defined in a cell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("IPython", reason="a notebook needs IPython, which the extra `test` has")

GUIDE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
# IPython's shell is what a kernel runs its cells in; it is there before Tallyloop is imported.
KERNEL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell, answers = InteractiveShell.instance(), []
for cell in json.load(open("cells.json")):
    found = shell.run_cell(cell)
    error = found.error_before_exec or found.error_in_exec
    answers.append(repr(found.result) if error is None else f"{type(error).__name__}: {error}")
    json.dump(answers, open("answers.json", "w"))
"""
TASK = """
import gin
import keras
from tallyloop.trainer import Task, configure, launch

@gin.register
class MyDigits(Task):
    def build_model(self):
        return keras.Sequential([keras.Input((64,)), keras.layers.Dense({width}), keras.layers.Dense(10)])

    def loss(self, model, batch, training):
        return keras.losses.sparse_categorical_crossentropy(batch["y"], model(batch["x"]), from_logits=True)

mine = ["Trainer.task = @MyDigits()", "Trainer.train_steps = 2"]
"""
TRAIN = """
trainer = configure(["digits.gin"], mine)
sorted(trainer.train_and_eval()["test"]), trainer.model.count_params()
"""


def guide(part):
    """The block of the guide that has this in it."""
    return next(code for code in re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S) if part in code)


def run(cells, folder):
    """The result or the error of each cell, as text."""
    (folder / "cells.json").write_text(json.dumps(cells))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "IPYTHONDIR": str(folder / "ipython")}
    shell = [sys.executable, "-c", KERNEL]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "answers.json").read_text())


def test_a_task_in_a_cell_that_is_changed_and_run_again(tmp_path):
    mistake, corrected = 'mine += ["Trainer.train_stps = 2"]', "mine.pop()"
    launched = 'launch(["digits.gin"], mine, model_dir="run").step'
    first, second = (TASK.format(width=width) for width in (8, 16))
    answers = run([first, TRAIN, second, mistake, TRAIN, corrected, TRAIN, launched], tmp_path)
    assert re.match('UsageError: .* did you mean "train_steps"', answers.pop(4))
    assert answers == ["None", "(['loss'], 610)", "None", "None", "'Trainer.train_stps = 2'", "(['loss'], 1210)", "2"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exit_reason"] == "done"


@pytest.mark.slow
def test_the_cells_of_the_guide_in_one_kernel(tmp_path):
    """`launch` comes first, as its `virtual_cpus` must."""
    parts = ["import launch", "import configure\n\ntrainer =", "for _ in range(2)", "ClassifierTask(model=mlp)"]
    launched, *others = run([guide(part) for part in parts], tmp_path)
    assert "Trainer object" in launched
    assert others == ["None"] * 3
