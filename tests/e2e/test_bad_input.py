"""Bad input: exit code 2, one message that names the place and the fix, no traceback, nothing written."""

import numpy as np
import pytest
from tallyloop.trainer.command.request import MODES

PARAM = "--gin_param="

CASES = {
    "missing_file": (["--gin_file=nowhere.gin"], ["nowhere.gin", "Searched", "/gin"]),
    "configurable": ([PARAM + "Trianer.train_steps=3"], ["Trianer", 'did you mean "Trainer"']),
    "parameter": ([PARAM + "Trainer.train_step=3"], ["train_step", 'did you mean "train_steps"']),
    "macro_unused": ([PARAM + "batch_siz=3"], ["batch_siz", 'did you mean "batch_size"']),
    "scope": ([PARAM + "tran/Input.shuffle=True"], ['scope "tran"', 'did you mean "train"']),
    "type": ([PARAM + "Trainer.train_steps=many"], ["Trainer.train_steps", "int", "many"]),
    "unused_binding": ([PARAM + "two_stage_autoencoder.width=3"], ["two_stage_autoencoder.width", "never called"]),
    "train_steps": ([PARAM + "Trainer.train_steps=0"], ["Trainer.train_steps = 0", "at least 1"]),
    "batch_size": ([PARAM + "batch_size=-4"], ["Input.global_batch_size = -4", "at least 1"]),
    "labels": ([PARAM + "mlp.num_classes=7"], ["Trainer.train_dataset", "7 classes", "mlp.num_classes"]),
    "mode": (["--mode=evl"], ["--mode=evl", 'did you mean "eval"']),
    "flag": (["--gin_fil=digits.gin"], ["gin_fil", "gin_file"]),
    "checkpoint": (["--mode=eval", "--checkpoint=/no/ckpt-5"], ["--checkpoint=/no/ckpt-5", "no such checkpoint"]),
    "model_dir_is_a_file": (["--model_dir=taken/run"], ["--model_dir", "taken", "Choose another"]),
    "import_module": (["--import_module=no_such_module"], ["--import_module=no_such_module", "no such module"]),
    "npz_absent": (["--gin_file=npz.gin", PARAM + "npz.path=absent.npz"], ["absent.npz", "npz.path"]),
    "npz_truncated": (["--gin_file=npz.gin", PARAM + "npz.path=torn.npz"], ["torn.npz"]),
    "idx_is_text": (["--gin_file=idx.gin", PARAM + "idx.images=taken", PARAM + "idx.labels=taken"], ["taken"]),
    "labels_are_floats": (
        ["--gin_file=npz.gin", PARAM + "npz.path=floats.npz"],
        ["labels 'y', got float64"],
    ),
    "features_are_strings": (
        ["--gin_file=npz.gin", PARAM + "npz.path=strings.npz"],
        ["features 'x'", "got strings", "numbers"],
    ),
    "eval_of_another_width": (
        ["--gin_file=npz.gin", PARAM + "train/Input.source=@digits", PARAM + "npz.path=narrow.npz"],
        ["Trainer.eval_datasets['test']", "(None, 64)", "(1, 32)"],
    ),
    "nothing_to_predict": (
        ["--mode=predict", PARAM + "Trainer.eval_datasets={}"],
        ["--mode=predict needs Trainer.eval_datasets", "@test/Input()"],
    ),
    "a_file_for_a_folder": (["--model_dir=used"], ["--model_dir=used", "used/checkpoints is not a folder"]),
}


@pytest.fixture
def folder(command):
    """Files of the kinds that the cases name."""
    at = command.folder
    (at / "taken").write_text("a file, not a folder")
    (at / "used").mkdir()
    (at / "used" / "checkpoints").write_text("a file, not a folder")
    source = 'include "digits.gin"\ntrain/Input.source = @{0}\ntest/Input.source = @{0}\n'
    (at / "npz.gin").write_text(source.format("npz"))
    (at / "idx.gin").write_text(source.format("idx"))
    x, y = np.zeros((9, 64), np.float32), np.arange(9)
    np.savez(at / "whole.npz", x=x, y=y)
    (at / "torn.npz").write_bytes((at / "whole.npz").read_bytes()[:-100])
    np.savez(at / "floats.npz", x=x, y=y.astype(np.float64))
    np.savez(at / "strings.npz", x=np.full((9, 64), "a"), y=y)
    np.savez(at / "narrow.npz", x=x[:, :32], y=y)
    return at


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, command, folder):
    before = sorted(folder.rglob("*"))
    flags, fragments = CASES[case]
    gin_file = None if any(flag.startswith("--gin_file") for flag in flags) else "digits.gin"
    done = command(*flags, gin_file=gin_file)
    assert done.returncode == 2, done.stdout + done.stderr
    for fragment in fragments:
        assert fragment in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert sorted(folder.rglob("*")) == before


def test_a_missing_required_value(command):
    done = command(PARAM + "Trainer.train_steps=3", gin_file=None)
    assert done.returncode == 2
    assert "Trainer.task is required but not bound" in done.stderr


# What is in the way of `import tensorflow` if it is found first.
NO_TENSORFLOW = "raise AssertionError('TensorFlow was loaded')"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "No config: give --gin_file=digits.gin"),
        (["--gin_file=digits.gin"], "--model_dir is required"),
        (
            ["--gin_file=digit.gin", "--model_dir=run"],
            '--gin_file: no config file "digit.gin": did you mean "digits.gin"',
        ),
        (["--gin_file=digits.gin", "--model_dir=run/tensorflow.py"], "run/tensorflow.py"),
        *[
            (["--gin_file=digits.gin", "--model_dir=/proc/run", f"--mode={mode}"], "--model_dir=/proc/run")
            for mode in MODES
            if mode not in ("check", "replay", "tune")  # a replay needs a step, too; the others write nothing
        ],
    ],
)
def test_what_the_flags_tell_is_said_before_tensorflow_is_loaded(command, flags, message):
    (command.folder / "run").mkdir()
    (command.folder / "run" / "tensorflow.py").write_text(NO_TENSORFLOW)
    done = command.started(*flags, PYTHONPATH=str(command.folder / "run"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_traceback_is_in_the_log_when_asked_for(command):
    done = command("--verbosity=1", gin_file="nowhere.gin")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_another_model_than_the_checkpoints(trained):
    before = (trained.model_dir / "config.gin").read_text()
    done = trained(PARAM + "mlp.hidden=(32,)", PARAM + "Trainer.train_steps=70")
    assert done.returncode == 2
    assert "mlp/dense/kernel: (64, 512) in the checkpoint, (64, 32) in the model" in done.stderr
    assert (trained.model_dir / "config.gin").read_text() == before
