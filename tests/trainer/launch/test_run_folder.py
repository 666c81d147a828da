"""The files that describe a run, on a disk that does not take them."""

import errno
import json
import os
import types

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.errors import CheckpointError, OutputError, PreemptedError
from tallyloop.trainer.launch import cli
from tallyloop.trainer.launch.folders import first_write


@pytest.fixture
def recorded(tmp_path, mirrored_on):
    """recorded() -> the context in which a run is described in `tmp_path`."""

    def make():
        return cli._recorded(configs.load([], [], []), tmp_path, types.SimpleNamespace(strategy=mirrored_on(1)))

    return make


def spoil(folder, name):
    """No file of this name can be written any more: not even by root, whom permissions do not stop."""
    (folder / f"{name}.new").mkdir()


def test_how_it_ended_is_noted(recorded, tmp_path):
    with pytest.raises(PreemptedError), recorded():
        raise PreemptedError("Stopped after step 7.")
    assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] == "PreemptedError: Stopped after step 7."


@pytest.mark.parametrize("error", [PreemptedError("at 7"), CheckpointError("at 7"), KeyboardInterrupt(), None])
def test_an_end_that_cannot_be_noted_is_said_and_stays_what_it_was(recorded, tmp_path, caplog, error):
    caught = None
    try:
        with recorded():
            spoil(tmp_path, "run.json")
            if error is not None:
                raise error
    except BaseException as its:
        caught = its
    assert caught is error
    assert f"{tmp_path / 'run.json'} cannot be written (Is a directory)" in caplog.text
    assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] is None


@pytest.mark.parametrize("name", ["config.gin", "operative_config.gin", "run.json"])
def test_a_beginning_that_cannot_be_noted_is_wrong_usage(recorded, tmp_path, name):
    spoil(tmp_path, name)
    with pytest.raises(UsageError, match=r"--model_dir=.* cannot be written \(Is a directory\): choose another folder"):
        recorded().__enter__()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_at_the_start_is_no_reason_for_another_folder(tmp_path, number):
    with (
        pytest.raises(OutputError, match=r"cannot be written \(.+\)\. Free some space, and run the same command"),
        first_write(tmp_path),
    ):
        raise OSError(number, os.strerror(number))
