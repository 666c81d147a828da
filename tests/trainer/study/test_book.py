import json

import pytest
from tallyloop.trainer.study.book import Trial, best, label


class TestBest:
    TRIALS = (
        Trial(0, {}, "failed"),
        Trial(1, {}, "done", 0.5),
        Trial(2, {}, "done", 0.7),
        Trial(3, {}, "done", 0.7),
        Trial(4, {}, "pruned"),
        Trial(5, {}),
    )

    @pytest.mark.parametrize(("mode", "number"), [("max", 2), ("min", 1)])
    def test_is_the_first_of_those_that_are_done(self, mode, number):
        assert best(self.TRIALS, mode).number == number

    def test_is_none_of_none(self):
        assert best([Trial(0, {}, "failed")], "max") is None


def test_a_label_says_which_trial_of_which_study(tmp_path):
    trial = Trial(7, {"a": "1", "b": "'x'"}, "failed", reason="exit code 1")
    label(tmp_path / trial.folder, "rates", trial)
    assert json.loads((tmp_path / "trial-0007" / "trial.json").read_text()) == {
        "study": "rates",
        "number": 7,
        "values": {"a": "1", "b": "'x'"},
        "state": "failed",
        "value": None,
        "reason": "exit code 1",
    }
    assert trial.choice == "a=1 b='x'"
