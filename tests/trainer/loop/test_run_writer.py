"""What a run writes below its folder."""

import re

import pytest
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.errors import OutputError


class TestRunWriter:
    def test_unwritable_metrics_cost_no_checkpoint(self, run, whole, tmp_path, monkeypatch, assert_same_weights):
        """metrics.jsonl turns into a folder: the run ends, and the checkpoint of its last step is there."""

        def spoil(trainer, summary):
            if (summary.step, summary.split) == (4, "eval"):
                (tmp_path / "metrics.jsonl").unlink()
                (tmp_path / "metrics.jsonl").mkdir()

        with pytest.raises(OutputError, match="metrics cannot be written") as raised:
            run(tmp_path, actions=[spoil], summary_interval=2, steps_per_loop=1)
        saved = int(re.search(r"The checkpoint of step (\d+) is saved", str(raised.value))[1])
        assert CheckpointFolder(tmp_path / "checkpoints").steps()[-1] == saved >= 4
        (tmp_path / "metrics.jsonl").rmdir()
        assert_same_weights(run(tmp_path), whole[0])
