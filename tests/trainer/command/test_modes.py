import json

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.checkpointing.restore import UnreadableCheckpointError
from tallyloop.trainer.command import modes


@pytest.fixture
def trained(make_trainer, tmp_path, monkeypatch):
    """The folder of a run that deleted the checkpoint of step 2, of which steps 2, 4 and 6 are announced to an evaluator."""
    make_trainer(model_dir=tmp_path, checkpoint_interval=2, keep_checkpoints=2).train()
    paths = [str(tmp_path / "checkpoints" / f"ckpt-{step}") for step in (2, 4, 6)]
    monkeypatch.setattr(tf.train, "checkpoints_iterator", lambda *args, **keywords: iter(paths))
    (tmp_path / "metrics.jsonl").unlink()
    return tmp_path


class TestEval:
    def test_skips_a_checkpoint_that_the_run_has_deleted(self, make_trainer, trained, caplog):
        modes.run("eval", make_trainer(evaluate=True), trained, None)
        assert [json.loads(line)["step"] for line in (trained / "metrics.jsonl").read_text().splitlines()] == [4, 6]
        assert "ckpt-2 was deleted before it could be evaluated" in caplog.text

    def test_ends_where_an_action_has_stopped_the_training(self, make_trainer, tmp_path, monkeypatch):
        """At step 4 of 6; the poll before finds that the training goes on."""
        monkeypatch.setattr(modes, "_POLL_SECONDS", 0.01)
        make_trainer(model_dir=tmp_path, train_steps=4).train()
        reads = []
        stopped = modes._is_stopped_at

        def looked(folder, step):
            reads.append(step)
            reason = None if len(reads) == 1 else "stopped at step 4: enough"
            (tmp_path / "run.json").write_text(json.dumps({"exit_reason": reason}))
            return stopped(folder, step)

        monkeypatch.setattr(modes, "_is_stopped_at", looked)
        modes.run("eval", make_trainer(evaluate=True), tmp_path, None)
        assert reads == [4, 4]
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["split"] == "eval"] == [4]

    @pytest.mark.parametrize(
        "text", ["", "{}", '{"exit_reason": "done"}', '{"exit_reason": "stopped at step 40: enough"}']
    )
    def test_goes_on_otherwise(self, tmp_path, text):
        (tmp_path / "run.json").write_text(text)
        assert not modes._is_stopped_at(tmp_path, 4)
        assert not modes._is_stopped_at(tmp_path / "none", 4)

    def test_fails_on_one_that_is_damaged_or_was_asked_for(self, make_trainer, trained):
        checkpoints = trained / "checkpoints"
        trainer = make_trainer(evaluate=True)
        with pytest.raises(UnreadableCheckpointError, match="ckpt-2 "):
            modes.run("eval", trainer, trained, str(checkpoints / "ckpt-2"))
        (checkpoints / "ckpt-4.data-00000-of-00001").unlink()
        with pytest.raises(UnreadableCheckpointError, match="ckpt-4 "):
            modes.run("eval", trainer, trained, None)


class TestPredictions:
    def test_nested_outputs_get_keys_like_paths(self):
        outputs = {"label": np.zeros(2), "parts": {"mean": np.ones(2), "inner": {"std": np.full(2, 2)}}}
        assert {key: array[0] for key, array in modes._by_path(outputs).items()} == {
            "label": 0,
            "parts/mean": 1,
            "parts/inner/std": 2,
        }

    def test_outputs_without_names_are_numbered(self):
        assert list(modes._by_path((np.zeros(2), [np.ones(2)]))) == ["output_0", "output_1"]
        assert list(modes._by_path(np.zeros(2))) == ["output_0"]
