"""Which checkpoints stay."""

import json

import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer.checkpointing import retention
from tallyloop.trainer.checkpointing.folder import CheckpointFolder


class TestRetention:
    def test_keeps_the_newest_and_every_nth(self, run, tmp_path):
        run(tmp_path, 12, checkpoint_interval=2, keep_checkpoints=2, keep_every=4)
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4, 8, 10, 12]

    @pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 12)])
    def test_keeps_the_best(self, run, tmp_path, mode, best):
        """The loss falls from step to step."""
        arguments = {"eval_interval": 1, "checkpoint_interval": 5, "keep_checkpoints": 1}
        run(tmp_path, 12, best_metric="loss", best_mode=mode, **arguments)
        record = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
        assert (record["step"], record["metric"], record["mode"]) == (best, "loss", mode)
        assert record["checkpoint"] == f"ckpt-{best}"
        assert CheckpointFolder(tmp_path / "checkpoints").steps() == sorted({best, 12})
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        losses = {line["step"]: line["metrics"]["loss"] for line in lines if line["split"] == "eval"}
        assert record["value"] == losses[best]

    @pytest.mark.slow
    def test_best_after_a_rerun(self, run, tmp_path):
        arguments = {"eval_interval": 1, "best_metric": "test/loss", "best_mode": "max"}
        run(tmp_path / "a", 12, **arguments)
        run(tmp_path / "b", 6, **arguments)
        run(tmp_path / "b", 12, **arguments)
        one, other = ((tmp_path / name / "checkpoints" / "best.json").read_text() for name in "ab")
        assert one == other
        run(tmp_path / "b", 13, **(arguments | {"best_mode": "min"}))  # another question: the old answer is forgotten
        assert json.loads((tmp_path / "b" / "checkpoints" / "best.json").read_text())["step"] == 13

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"best_metric": "loss"}, r"Trainer.best_mode = None: expected 'max' or 'min'"),
            ({"best_metric": "loss", "best_mode": "most"}, r"Trainer.best_mode = 'most'"),
            ({"best_mode": "max"}, r"Trainer.best_metric = None"),
            (
                {"best_metric": "los", "best_mode": "max"},
                r"Trainer.best_metric = 'los': no evaluation computes it.*loss",
            ),
            ({"best_metric": "loss", "best_mode": "max", "eval_datasets": None}, r"needs Trainer.eval_datasets"),
            ({"keep_every": 0}, r"Trainer.keep_every = 0"),
        ],
    )
    def test_wrong_arguments(self, make_trainer, arguments, message):
        with pytest.raises(UsageError, match=message):
            make_trainer(**{"evaluate": True, **arguments}).train_and_eval()

    def test_damaged_one_does_not_count(self, run, tmp_path, whole):
        """Only the newest stays: not the damaged one of step 8 instead of those that follow step 4."""
        run(tmp_path, 8, keep_checkpoints=2)
        data = tmp_path / "checkpoints" / "ckpt-8.data-00000-of-00001"
        data.write_bytes(data.read_bytes()[:-1])
        run(tmp_path, 6, keep_checkpoints=1, checkpoint_interval=6)
        folder = CheckpointFolder(tmp_path / "checkpoints")
        assert folder.steps() == [6, 8]
        assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")) == str(folder.prefix(6))

    def test_repaired_after_a_kill(self, run, tmp_path, monkeypatch):
        """The index of the last checkpoint is there, and neither `checkpoint` nor best.json nor the retention knows of it."""
        options = {"checkpoint_interval": 2, "keep_checkpoints": 2, "best_metric": "loss", "best_mode": "min"}
        run(tmp_path / "whole", 12, **options)
        run(tmp_path / "killed", 10, **options)
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointFolder, "_announce", lambda self, newest: None)
            patch.setattr(retention.Retention, "apply", lambda *_: None)
            run(tmp_path / "killed", 12, **options)
        run(tmp_path / "killed", 12, **options)  # nothing to do
        names = [
            sorted(path.name for path in (tmp_path / each / "checkpoints").iterdir()) for each in ("whole", "killed")
        ]
        assert names[0] == names[1]
        for name in ("best.json", "checkpoint"):
            texts = [(tmp_path / each / "checkpoints" / name).read_text() for each in ("whole", "killed")]
            assert texts[0] == texts[1]


class TestBestCheckpoint:
    def test_is_the_one_that_the_record_names(self, tmp_path):
        (tmp_path / "best.json").write_text('{"step": 4, "checkpoint": "ckpt-4"}')
        assert retention.best_checkpoint(tmp_path) == f"{tmp_path}/ckpt-4"

    def test_is_not_known_without_a_metric(self, tmp_path):
        with pytest.raises(UsageError, match=r"checkpoint = 'best': expected .*best.json.*Trainer.best_metric"):
            retention.best_checkpoint(tmp_path)
