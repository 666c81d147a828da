"""What a run says at its end."""

import types
from pathlib import Path

import pytest
from tallyloop.trainer.loop.console import command_line, last_lines
from tallyloop.trainer.loop.schedule import TrainLength

STEPS = TrainLength(60, None)
SECONDS = {"training": 60.06, "compiling": 2.5, "saving": 0.01}


@pytest.fixture
def said(monkeypatch):
    """said(step, argv, ...) -> the last lines of a run of 60 steps in the folder "my run"."""

    def say(
        step=60, argv=("/bin/tallyloop", "--gin_file=a.gin"), length=STEPS, best=None, folder="my run", stopped=None
    ):
        monkeypatch.setattr("sys.argv", list(argv))
        trainer = types.SimpleNamespace(step=step, train_steps=60, model_dir=folder and Path(folder), stopped=stopped)
        retention = types.SimpleNamespace(record=lambda: best)
        return last_lines(trainer, length, retention, SECONDS)

    return say


class TestLastLines:
    def test_time_and_places(self, said):
        assert said(best={"checkpoint": "ckpt-40", "metric": "accuracy", "value": 0.98765})[:-1] == [
            "Time: 0:01:03",
            "  training 60.1 s, compiling 2.5 s",
            "Checkpoint: my run/checkpoints/ckpt-60",
            "Best: my run/checkpoints/ckpt-40, accuracy 0.9877",
            "Metrics: my run/metrics.jsonl",
            "Look: tensorboard --logdir=.",
        ]

    def test_without_a_folder(self, said):
        assert said(folder=None) == []

    @pytest.mark.parametrize(
        ("arguments", "command"),
        [
            ({}, "tallyloop --gin_file=a.gin --gin_param=Trainer.train_steps=120"),
            ({"step": 40}, "tallyloop --gin_file=a.gin"),
            ({"length": TrainLength(None, 3)}, "tallyloop --gin_file=a.gin --gin_param=Trainer.train_epochs=6"),
            ({"argv": ["tallyloop", "--gin_param=Trainer.train_steps=60", "--gin_param=A.b='c d'"]},
             "tallyloop '--gin_param=A.b='\"'\"'c d'\"'\"'' --gin_param=Trainer.train_steps=120"),
            ({"argv": ["/x/trainer/__main__.py"]}, "python -m tallyloop.trainer --gin_param=Trainer.train_steps=120"),
            ({"argv": ["/home/me/script.py", "--x"]}, "the same program with train_steps=120"),
            ({"argv": ["/home/me/script.py"], "step": 40}, "the same program"),
        ],
    )  # fmt: skip
    def test_what_continues(self, said, arguments, command):
        assert said(**arguments)[-1] == f"Train on: {command}"

    def test_nothing_continues_what_an_action_has_ended(self, said):
        lines = said(step=40, stopped="stopped at step 40: EarlyStopping: ...")
        assert lines[-1].startswith("Look: ")

    def test_the_current_folder_has_one_above_it(self, said, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert said(folder=".")[-2] == f"Look: tensorboard --logdir={tmp_path.parent}"


class TestCommandLine:
    def test_leaves_flags_out_in_either_form(self, monkeypatch):
        given = ["tallyloop", "--workers=2", "--gin_file=a.gin", "--max_restarts", "1", "--workers_of=x"]
        monkeypatch.setattr("sys.argv", given)
        assert command_line("--workers", "--max_restarts") == "tallyloop --gin_file=a.gin --workers_of=x"
