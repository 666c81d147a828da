"""`--mode=eval` beside a run that deletes its old checkpoints."""

import json

import pytest
import tensorflow as tf
from tallyloop.trainer.checkpointing.restore import UnreadableCheckpointError
from tallyloop.trainer.launch import modes


@pytest.fixture
def written(make_trainer, tmp_path, monkeypatch):
    """A trained folder, of which the checkpoints of steps 2 (deleted), 4 and 6 are announced to an evaluator."""
    make_trainer(model_dir=tmp_path, checkpoint_interval=2, keep_checkpoints=2).train()
    paths = [str(tmp_path / "checkpoints" / f"ckpt-{step}") for step in (2, 4, 6)]
    monkeypatch.setattr(tf.train, "checkpoints_iterator", lambda *args, **keywords: iter(paths))
    (tmp_path / "metrics.jsonl").unlink()
    return tmp_path


def test_an_evaluator_goes_on_without_a_checkpoint_that_was_deleted(make_trainer, written, caplog):
    modes.run("eval", make_trainer(evaluate=True), written, None)
    assert [json.loads(line)["step"] for line in (written / "metrics.jsonl").read_text().splitlines()] == [4, 6]
    assert "ckpt-2 was deleted before it could be evaluated" in caplog.text


def test_one_that_is_damaged_or_was_asked_for_is_an_error(make_trainer, written):
    checkpoints = written / "checkpoints"
    trainer = make_trainer(evaluate=True)
    with pytest.raises(UnreadableCheckpointError, match="ckpt-2 "):
        modes.run("eval", trainer, written, str(checkpoints / "ckpt-2"))
    (checkpoints / "ckpt-4.data-00000-of-00001").unlink()
    with pytest.raises(UnreadableCheckpointError, match="ckpt-4 "):
        modes.run("eval", trainer, written, None)
