"""Actions that end a run, in real ones: where it ends, what is left, and what the same run does when it is made again."""

import json

import pytest
from tallyloop.trainer.actions import BatchSizeFinder, StopAfter, StopAtTarget
from tallyloop.trainer.checkpointing.folder import CheckpointFolder


def evaluations(folder):
    """Return step -> the loss of its evaluation."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["metrics"]["loss"] for line in lines if line["split"] == "eval"}


class TestStopAfter:
    @pytest.mark.slow
    def test_ends_a_run_that_would_take_hours_and_the_rerun_trains_on(self, run, tmp_path):
        endless = {"steps": 10**9, "checkpoint_interval": 10**9, "eval_interval": 10**9, "summary_interval": 10**9}
        first = run(tmp_path, actions=[StopAfter(seconds=5)], **endless)
        assert 0 < first.step < 10**9
        assert CheckpointFolder(tmp_path / "checkpoints").steps()[-1] == first.step
        record = json.loads((tmp_path / "run.json").read_text())
        assert (
            record["exit_reason"]
            == f"stopped at step {first.step}: StopAfter: 5 s are over. The same command trains on."
        )
        again = run(tmp_path, actions=[StopAfter(seconds=5)], **endless)
        assert again.step > first.step


class TestStopAtTarget:
    def test_ends_at_the_first_evaluation_that_reaches_it(self, run, whole, tmp_path, assert_same_weights):
        losses = evaluations(whole[1])
        assert losses[4] > losses[8] > losses[12]
        action = StopAtTarget("loss", "min", losses[8])
        stopped = run(tmp_path, actions=[action])
        assert stopped.step == 8
        assert evaluations(tmp_path) == {step: losses[step] for step in (4, 8)}
        again = run(tmp_path, actions=[StopAtTarget("loss", "min", losses[8])])
        assert again.step == 8
        lower = run(tmp_path, actions=[StopAtTarget("loss", "min", losses[8] - 100)])
        assert lower.step == 12
        assert_same_weights(lower, whole[0])


class TestBatchSizeFinder:
    def test_measures_and_trains_nothing(self, run, whole, tmp_path, assert_same_weights):
        finder = BatchSizeFinder(most=64, seconds=0.05)
        searched = run(tmp_path, actions=[finder])
        assert [*finder.found][:2] == [16, 32]
        assert all(speed > 0 for speed in finder.found.values())
        assert searched.step == 0
        assert not CheckpointFolder(tmp_path / "checkpoints").steps()
        reason = json.loads((tmp_path / "run.json").read_text())["exit_reason"]
        assert reason.startswith("stopped at step 0: BatchSizeFinder: examples per second by global batch size: 16: ")
        assert_same_weights(run(tmp_path), whole[0])
