"""What the writers of other programs share."""

import json
import math

import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import JsonlWriter, RunDescription, Summary
from tallyloop.metrics.writers.outside.past import files, needs, numbers, past, remember, remembered


class TestPast:
    def test_has_the_numbers_up_to_the_step(self, tmp_path):
        writer = JsonlWriter(tmp_path / "metrics.jsonl")
        writer.write(Summary(10, "train", {"loss": 0.1, "matrix": [[1, 2]]}, {"loss": 4.0}, {"time/step_s": 0.5}))
        writer.write(Summary(10, "eval/test", {"loss": math.nan}, {}))
        writer.write(Summary(20, "train", {"loss": 0.2}, {}))
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 20, "split": "ev')
        first, second = past(RunDescription(tmp_path, 10, {}))
        assert first == Summary(10, "train", {"loss": 0.1, "time/step_s": 0.5}, {})
        assert (second.step, second.split, math.isnan(second.metrics["loss"])) == (10, "eval/test", True)

    @pytest.mark.parametrize("step", [0, 10])
    def test_is_empty_at_the_start(self, tmp_path, step):
        assert list(past(RunDescription(tmp_path, step, {}))) == []


def test_numbers_are_the_scalars_and_the_times():
    given = Summary(1, "train", {"loss": 1.0, "matrix": [[1]]}, {}, {"time/step_s": 0.5})
    assert numbers(given) == {"loss": 1.0, "time/step_s": 0.5}


def test_files_are_those_that_are_there(tmp_path):
    (tmp_path / "config.gin").write_text("")
    (tmp_path / "other").write_text("")
    assert files(RunDescription(tmp_path, 0, {})) == [tmp_path / "config.gin"]


class TestMemory:
    def test_is_kept(self, tmp_path):
        remember(tmp_path / "x.json", {"id": "a1"})
        assert remembered(tmp_path / "x.json") == {"id": "a1"}

    @pytest.mark.parametrize("text", [None, "", "{", "3", json.dumps(["id"])])
    def test_that_is_damaged_is_none(self, tmp_path, text):
        if text is not None:
            (tmp_path / "x.json").write_text(text)
        assert remembered(tmp_path / "x.json") == {}


def test_needs_what_is_installed():
    needs("X", "json", "x")
    with pytest.raises(
        UsageError, match=r'X: expected no_such_module to be installed, as with: pip install "tallyloop\[x\]"'
    ):
        needs("X", "no_such_module", "x")
