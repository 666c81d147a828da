import json

import pytest
from tallyloop.trainer.loop import folder_lock
from tallyloop.trainer.report.ending import ending


class TestState:
    @pytest.mark.parametrize(
        ("exit_reason", "state", "reason"),
        [
            ("done", "done", ""),
            ("stopped at step 40: EarlyStopping(accuracy, max)", "stopped", "at step 40: EarlyStopping(accuracy, max)"),
            ("PreemptedError: Saved at step 40.", "stopped", "on request"),
            ("KeyboardInterrupt", "stopped", "on request"),
            ("NonFiniteError: loss is NaN\nand more", "failed", "NonFiniteError: loss is NaN"),
            (
                "NonFiniteError: rows [530, 306, 207, 944, 165, 853, 556, 1211, 285] of",
                "failed",
                "NonFiniteError: rows [530, 306, 207, ...] of",
            ),
            ("ValueError: expected shape [1, 2, 3, 4]", "failed", "ValueError: expected shape [1, 2, 3, 4]"),
            (None, "killed", "it ended without a word"),
        ],
    )
    def test_of_an_exit_reason(self, make_run, exit_reason, state, reason):
        found = ending(make_run(exit_reason=exit_reason))
        assert (found.state, found.reason) == (state, reason)

    def test_of_a_run_that_holds_its_lock(self, make_run):
        folder = make_run(exit_reason=None, end=None)
        with folder_lock.locked(folder):
            assert ending(folder).state == "running"
        assert ending(folder).state == "killed"

    @pytest.mark.parametrize(
        ("reason", "told"),
        [({}, "by its study"), ({"reason": ""}, "by its study"), ({"reason": "a 0.5"}, "by its study: a 0.5")],
    )
    def test_of_a_trial_that_its_study_ended(self, make_run, reason, told):
        folder = make_run(exit_reason="PreemptedError: Saved.")
        (folder / "trial.json").write_text(json.dumps({"state": "pruned"} | reason))
        assert (ending(folder).state, ending(folder).reason) == ("pruned", told)

    @pytest.mark.parametrize(
        ("label", "state", "reason"),
        [
            (
                {"state": "failed", "reason": "exit code 2: x = -1 (output.txt)"},
                "failed",
                "exit code 2: x = -1 (output.txt)",
            ),
            ({"state": "running", "reason": ""}, "killed", "its study continues it"),
            ({"state": 3}, "unknown", "no run.json"),
            ([], "unknown", "no run.json"),
        ],
    )
    def test_of_a_trial_that_was_refused(self, tmp_path, label, state, reason):
        folder = tmp_path / "trial-0000"
        folder.mkdir()
        (folder / "trial.json").write_text(json.dumps(label))
        assert (ending(folder).state, ending(folder).reason) == (state, reason)

    def test_of_a_trial_that_begins(self, tmp_path):
        folder = tmp_path / "trial-0000"
        folder.mkdir()
        (folder / "trial.json").write_text('{"state": "running"}')
        with folder_lock.locked(tmp_path):
            assert ending(folder).state == "running"

    @pytest.mark.parametrize("text", ["{", "[]", '"done"', '{"attempts": 3}'])
    def test_of_a_damaged_record(self, make_run, text):
        folder = make_run()
        (folder / "run.json").write_text(text)
        assert (ending(folder).state, ending(folder).reason) == ("unknown", "run.json is damaged")


class TestIsComplete:
    @pytest.mark.parametrize(
        ("exit_reason", "is_complete"),
        [
            ("done", True),
            ("stopped at step 40: EarlyStopping", True),
            ("PreemptedError: Saved.", False),
            ("ValueError: bad", False),
            (None, False),
        ],
    )
    def test_of_an_exit_reason(self, make_run, exit_reason, is_complete):
        assert ending(make_run(exit_reason=exit_reason)).is_complete == is_complete


class TestSeconds:
    def test_are_those_of_all_attempts(self, make_run):
        folder = make_run()
        record = json.loads((folder / "run.json").read_text())
        record["attempts"] *= 2
        (folder / "run.json").write_text(json.dumps(record))
        assert (ending(folder).attempts, ending(folder).seconds) == (2, 20.0)

    def test_of_a_kill_that_was_continued_are_not_known(self, make_run):
        folder = make_run()
        record = json.loads((folder / "run.json").read_text())
        record["attempts"] = [{**record["attempts"][0], "end": None}, *record["attempts"]]
        (folder / "run.json").write_text(json.dumps(record))
        assert ending(folder).seconds is None
