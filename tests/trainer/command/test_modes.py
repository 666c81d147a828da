import json

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
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
        with pytest.raises(UnreadableCheckpointError, match=r"there is no .*ckpt-2\.index"):
            modes.run("eval", trainer, trained, str(checkpoints / "ckpt-2"))
        (checkpoints / "ckpt-4.data-00000-of-00001").unlink()
        with pytest.raises(UnreadableCheckpointError, match="ckpt-4 "):
            modes.run("eval", trainer, trained, None)


class TestPredict:
    def test_each_eval_dataset_in_its_file(self, make_trainer, rows, trained, capsys):
        data = {"one": Input(rows(5), 2), "two": Input(rows(7), 2)}
        modes.run("predict", make_trainer(eval_datasets=data), trained, None, "jsonl")
        kernel = make_trainer(model_dir=trained).predict(Input({"x": np.eye(4, 3, dtype=np.float32)}, 4))[:, 0]
        lines = [json.loads(line) for line in (trained / "predictions" / "two.jsonl").read_text().splitlines()]
        expected = rows(7)["x"] @ (kernel[:3] - kernel[3]) + kernel[3]  # what the model gives for zeros is its bias
        np.testing.assert_allclose([line["output_0"][0] for line in lines], expected, rtol=1e-5)
        assert len((trained / "predictions" / "one.jsonl").read_text().splitlines()) == 5
        assert f"Predictions for two: {trained}/predictions/two.jsonl" in capsys.readouterr().out

    def test_without_a_checkpoint(self, make_trainer, tmp_path):
        with pytest.raises(UsageError, match=r"--mode=predict: .*checkpoints has no checkpoint: train first"):
            modes.run("predict", make_trainer(evaluate=True), tmp_path, None)


class TestReplay:
    def test_writes_a_report_and_nothing_else(self, make_trainer, tmp_path, capsys):
        make_trainer(model_dir=tmp_path, summary_interval=2, train_steps=4).train()
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        modes.run("replay", make_trainer(model_dir=tmp_path, summary_interval=2), tmp_path, None, step=3)
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert {path.relative_to(tmp_path / "replay").parts[0] for path in after.keys() - before.keys()} == {"step-3"}
        assert {path: after[path] for path in before} == before
        told = capsys.readouterr().out
        assert "Step 3, replayed from the start of the run: loss " in told
        assert "The loss is that in metrics.jsonl, to the last digit, at 1 summary up to step 2." in told
        assert f"Written to {tmp_path}/replay/step-3: batch.npz, report.json, report.md" in told


class TestExport:
    def test_tells_what_it_wrote(self, make_trainer, trained, capsys):
        modes.run("export", make_trainer(), trained, None)
        assert f"Exported to {trained}/export: model.keras, saved_model" in capsys.readouterr().out
