"""Replayed steps, by command: one of a run, and the one that has ended a run."""

import json
import re
import shlex

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_step_has_its_loss_to_the_last_digit(command, replicas):
    bindings = ["strategy=@mirrored()", "train_steps=20", "summary_interval=1", "checkpoint_interval=8"]
    given = [f"--virtual_cpus={replicas}", *(f"--gin_param=Trainer.{each}" for each in bindings)]
    command.ok(*given)
    (line,) = [each for each in command.lines() if (each["split"], each["step"]) == ("train", 13)]
    done = command.ok(*given, "--mode=replay", "--step=13")
    assert f"Step 13, replayed from the checkpoint of step 8: loss {line['metrics']['loss']!r}" in done.stdout
    written = json.loads((command.model_dir / "replay" / "step-13" / "report.json").read_text())
    assert written["replicas"] == replicas
    assert written["metrics"]["loss"] == line["metrics"]["loss"]
    assert written["agreement"] == {"same": [9, 10, 11, 12, 13], "different": []}


def test_the_step_that_ended_a_run_is_looked_at_as_its_message_tells(command):
    given = ["--gin_param=Adam.learning_rate=1e30", "--gin_param=Trainer.train_steps=20"]
    halted = command(*given)
    assert halted.returncode == 1
    told = re.search(
        r"To look at the step: python -m tallyloop\.trainer (.* --mode=replay --step=(\d+))$", halted.stderr, re.M
    )
    assert told
    done = command.raw(*shlex.split(told[1]))
    assert done.returncode == 0, done.stderr
    written = json.loads((command.model_dir / "replay" / f"step-{told[2]}" / "report.json").read_text())
    assert not written["finite"]
    assert "the output of layer 'mlp" in written["first_non_finite"]
    assert written["first_non_finite"] in done.stdout


def test_the_line_that_trains_on_is_pasted(command):
    done = command.ok("--gin_param=Trainer.train_steps=20")
    told = re.search(r"^Train on: python -m tallyloop\.trainer (.*)$", done.stdout, re.M)
    assert told
    further = command.raw(*shlex.split(told[1]))
    assert further.returncode == 0, further.stderr
    assert "Continues from step 20 of 40." in further.stdout
    assert command.lines()[-1]["step"] == 40
