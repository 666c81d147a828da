import os
import platform
import subprocess
import sys

import pytest
from tallyloop.trainer import config as configs
from tallyloop.trainer.command.backend import load
from tallyloop.trainer.tuning import facts
from tallyloop.trainer.tuning.facts import huge_pages_on_request, uses_onednn


@pytest.fixture(scope="module", autouse=True)
def registered():
    load(None)


class TestInput:
    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            (
                ["Trainer.train_dataset=@train/Input()", "train/Input.cache=True", "Input.read_threads=5"],
                {"dataset": "train/Input", "cache": True, "read_threads": 5, "read_processes": 0},
            ),
            (
                ["data=@Input()", "Trainer.train_dataset=%data", "n=3", "Input.read_processes=%n"],
                {"dataset": "Input", "cache": False, "read_threads": 2, "read_processes": 3},
            ),
            (
                ["Trainer.train_dataset=@digits()"],
                {"dataset": "", "cache": False, "read_threads": 2, "read_processes": 0},
            ),
        ],
        ids=["scope", "macro", "a function"],
    )
    def test_is_that_of_the_training(self, params, expected):
        assert facts._input_values(configs.load([], params)) == expected


class TestOneDnn:
    def test_is_on_or_off(self):
        assert uses_onednn() in (False, True)

    def test_is_on_if_the_environment_asks_for_it(self):
        code = "from tallyloop.trainer.tuning.facts import uses_onednn; print(uses_onednn())"
        variables = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == "True"


class TestHugePages:
    @pytest.mark.parametrize(
        ("setting", "expected"),
        [("always [madvise] never\n", True), ("[always] madvise never\n", False), (None, False)],
    )
    @pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that asks for them")
    def test_are_for_those_who_ask(self, tmp_path, setting, expected):
        file = tmp_path / "enabled"
        if setting is not None:
            file.write_text(setting)
        assert huge_pages_on_request(file) == expected

    @pytest.mark.parametrize("libc", [("glibc", "2.34"), ("glibc", ""), ("", "")])
    def test_not_where_malloc_cannot_ask(self, tmp_path, monkeypatch, libc):
        (tmp_path / "enabled").write_text("always [madvise] never")
        monkeypatch.setattr(platform, "libc_ver", lambda: libc)
        assert not huge_pages_on_request(tmp_path / "enabled")
