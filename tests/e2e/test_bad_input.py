"""Bad input: exit code 2, one message that names the place and the fix, no traceback, nothing written."""

import gzip

import numpy as np
import pytest

PARAM = "--gin_param="

CASES = {
    "missing_file": (["--gin_file=nowhere.gin"], ["nowhere.gin", "Searched", "/gin"]),
    "configurable": ([PARAM + "Trianer.train_steps=3"], ["Trianer", 'did you mean "Trainer"']),
    "parameter": ([PARAM + "Trainer.train_step=3"], ["train_step", 'did you mean "train_steps"']),
    "reference": ([PARAM + "Trainer.strategy=@mirored()"], ["mirored", 'did you mean "mirrored"']),
    "macro_unused": ([PARAM + "batch_siz=3"], ["batch_siz", 'did you mean "batch_size"']),
    "macro_undefined": ([PARAM + "Trainer.train_steps=%step"], ["%step", "not defined"]),
    "scope": ([PARAM + "tran/Input.shuffle=True"], ['scope "tran"', 'did you mean "train"']),
    "type": ([PARAM + "Trainer.train_steps=many"], ["Trainer.train_steps", "int", "many"]),
    "unused_binding": ([PARAM + "two_stage_autoencoder.width=3"], ["two_stage_autoencoder.width", "never called"]),
    "train_steps": ([PARAM + "Trainer.train_steps=0"], ["Trainer.train_steps = 0", "at least 1"]),
    "batch_size": ([PARAM + "batch_size=-4"], ["Input.global_batch_size = -4", "at least 1"]),
    "labels": ([PARAM + "mlp.num_classes=7"], ["Trainer.train_dataset", "7 classes", "mlp.num_classes"]),
    "mode": (["--mode=evl"], ["--mode=evl", "did you mean eval"]),
    "flag": (["--gin_fil=digits.gin"], ["gin_fil", "gin_file"]),
    "checkpoint": (["--mode=eval", "--checkpoint=/no/ckpt-5"], ["--checkpoint=/no/ckpt-5", "no such checkpoint"]),
    "model_dir_is_a_file": (["--model_dir=taken/run"], ["--model_dir", "taken", "Choose another"]),
    "import_module": (["--import_module=no_such_module"], ["--import_module=no_such_module", "no such module"]),
    "bad_gin": (["--gin_file=bad.gin"], ["bad.gin:2"]),
    "npz_absent": (["--gin_file=npz.gin", PARAM + "npz.path=absent.npz"], ["absent.npz", "npz.path"]),
    "npz_is_text": (["--gin_file=npz.gin", PARAM + "npz.path=taken"], ["taken", "npz"]),
    "npz_truncated": (["--gin_file=npz.gin", PARAM + "npz.path=torn.npz"], ["torn.npz"]),
    "npz_pickled": (["--gin_file=npz.gin", PARAM + "npz.path=pickled.npz"], ["pickled.npz", "pickle"]),
    "idx_truncated": (["--gin_file=idx.gin", PARAM + "idx.images=torn.idx"], ["torn.idx"]),
    "idx_damaged_gzip": (["--gin_file=idx.gin", PARAM + "idx.images=torn.gz"], ["torn.gz"]),
    "idx_is_text": (["--gin_file=idx.gin", PARAM + "idx.images=taken"], ["taken"]),
}


@pytest.fixture
def folder(command, write_idx):
    """Files of the kinds that the cases name."""
    at = command.folder
    (at / "taken").write_text("a file, not a folder")
    (at / "bad.gin").write_text("Trainer.train_steps = 5\nTrainer.train_steps = = 6\n")
    source = 'include "digits.gin"\ntrain/Input.source = @{0}\ntest/Input.source = @{0}\n'
    (at / "npz.gin").write_text(source.format("npz"))
    (at / "idx.gin").write_text(source.format("idx") + 'idx.labels = "labels.idx"\n')
    np.savez(at / "whole.npz", x=np.zeros((9, 64), np.float32), y=np.zeros(9, np.int64))
    (at / "torn.npz").write_bytes((at / "whole.npz").read_bytes()[:-100])
    np.savez(at / "pickled.npz", x=np.array([{}] * 9), y=np.zeros(9, np.int64))
    write_idx(at / "images.idx", np.zeros((9, 8, 8)))
    write_idx(at / "labels.idx", np.zeros(9))
    (at / "torn.idx").write_bytes((at / "images.idx").read_bytes()[:-10])
    (at / "torn.gz").write_bytes(gzip.compress((at / "images.idx").read_bytes())[:-12])
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
    assert "Trainer.task is required and nothing binds it" in done.stderr


def test_no_model_dir(command):
    done = command.raw("--gin_file=digits.gin")
    assert done.returncode == 2
    assert "--model_dir is required" in done.stderr


def test_a_model_dir_that_cannot_be_made(command):
    done = command(model_dir="/proc/run")
    assert done.returncode == 2
    assert "--model_dir=/proc/run" in done.stderr


def test_the_traceback_is_in_the_log_when_asked_for(command):
    done = command(PARAM + "Trainer.train_steps=0", "--verbosity=1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_another_model_than_the_checkpoints(trained):
    before = (trained.model_dir / "config.gin").read_text()
    done = trained(PARAM + "mlp.hidden=(32,)", PARAM + "Trainer.train_steps=70")
    assert done.returncode == 2
    assert "mlp/dense/kernel: (64, 128) in the checkpoint, (64, 32) in the model" in done.stderr
    assert (trained.model_dir / "config.gin").read_text() == before
