"""What the folder of a run tells: how far it came, with which config, which losses it wrote."""

import json
import math

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.replay.run_folder import Agreement, RunFolder, compare, losses_in


class Files:
    def __init__(self, *changes):
        self._changes = list(changes)

    def changes(self, folder):
        return self._changes


@pytest.fixture
def folder(tmp_path):
    """folder(reason, *changes) of a run with a checkpoint of step 40, which are due every 25 steps."""

    def make(reason, *changes):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "ckpt-40.index").touch()
        (tmp_path / "run.json").write_text(json.dumps({"exit_reason": reason}))
        return RunFolder(tmp_path, Files(*changes))

    return make


class TestCheck:
    @pytest.mark.parametrize(
        ("reason", "last"),
        [
            ("done", 40),
            ("stopped at step 40: enough", 40),
            ("PreemptedError: asked", 40),
            ("NonFiniteError: step 50", 65),
            (None, 65),
        ],
    )
    def test_of_how_far_it_came(self, folder, reason, last):
        """A run that failed or was killed has not come further than to where the next checkpoint was due."""
        found = folder(reason)
        found.check(last, 25)
        with pytest.raises(UsageError, match=rf"^Replay of step {last + 1}: expected .* from 1 to {last}: its newest"):
            found.check(last + 1, 25)

    def test_of_the_config(self, folder):
        with pytest.raises(
            UsageError, match=r"got another one:\n  Adam\.rate: 1 -> 2\nGive the run's own: --gin_file="
        ):
            folder("done", "Adam.rate: 1 -> 2", "Trainer.train_steps: 40 -> 60").check(3, 25)

    def test_what_changes_no_step_may_differ(self, folder):
        folder("done", "Trainer.train_steps: 40 -> 60", "Trainer.strategy: added, @mirrored()").check(3, 25)


class TestLosses:
    def test_of_the_train_lines(self, tmp_path):
        lines = [
            {"step": 1, "split": "train", "metrics": {"loss": 0.1, "loss/a": "NaN", "losses": 3.0, "accuracy": 1.0}},
            {"step": 1, "split": "eval", "metrics": {"loss": 7.0}},
        ]
        text = "\n".join(map(json.dumps, lines)) + '\n{"step": 2, "sp'
        (tmp_path / "metrics.jsonl").write_text(text)
        found = RunFolder(tmp_path, None).losses()
        assert found.keys() == {1}
        assert found[1]["loss"] == 0.1
        assert math.isnan(found[1]["loss/a"])
        assert found[1].keys() == {"loss", "loss/a"}

    def test_without_a_file(self, tmp_path):
        assert RunFolder(tmp_path, None).losses() == {}

    def test_leave_arrays_out(self):
        assert losses_in({"loss": 1.0, "loss/classes": [1.0, 2.0]}) == {"loss": 1.0}


class TestCompare:
    def test_to_the_last_digit(self):
        found = Agreement([], [])
        compare(found, 1, {"loss": 0.1, "loss/a": math.nan}, {"loss": 0.1, "loss/a": math.nan})
        compare(found, 2, {"loss": 0.1}, {"loss": 0.1 + 5e-18})
        compare(found, 3, {"loss": 0.1}, {"loss": math.nextafter(0.1, 1)})
        compare(found, 4, {"loss": 0.1}, {})
        assert found == ([1, 2], [(3, "loss", 0.1, math.nextafter(0.1, 1))])
