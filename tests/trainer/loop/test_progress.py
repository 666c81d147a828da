"""How far a run has come, as part of its checkpoints."""

import tensorflow as tf
from tallyloop.trainer.checkpointing.retention import Best
from tallyloop.trainer.loop.progress import Progress


def progress(metric="loss"):
    return Progress(Best(metric, "min"))


class TestProgress:
    def test_starts_with_nothing_done(self):
        new = progress()
        assert (new.step, new.evaluated, new.last_due_checkpoint, new.rollbacks) == (0, -1, -1, 0)
        assert new.best.record() is None

    def test_round_trip(self, tmp_path):
        saved, restored = progress(), progress()
        saved.step_variable.assign(12)
        saved.evaluated, saved.last_due_checkpoint, saved.rollbacks = 9, 8, 2
        assert saved.best.consider(9, {"test": {"loss": 0.25}})
        path = tf.train.Checkpoint(**saved.state()).write(str(tmp_path / "ckpt"))
        tf.train.Checkpoint(**restored.state()).read(path).assert_consumed()
        restored.after_restore()
        assert (restored.step, restored.evaluated, restored.last_due_checkpoint, restored.rollbacks) == (12, 9, 8, 2)
        record = restored.best.record()
        assert (record["step"], record["value"]) == (9, 0.25)

    def test_best_of_another_metric_is_forgotten(self, tmp_path, caplog):
        saved, restored = progress("loss"), progress("accuracy")
        saved.best.consider(9, {"test": {"loss": 0.25}})
        path = tf.train.Checkpoint(**saved.state()).write(str(tmp_path / "ckpt"))
        tf.train.Checkpoint(**restored.state()).read(path)
        restored.after_restore()
        assert restored.best.record() is None
        assert "of step 9" in caplog.text

    def test_names_in_the_files(self, tmp_path):
        """Those of version 0.1.0, whose checkpoints are still read."""
        path = tf.train.Checkpoint(**progress().state()).write(str(tmp_path / "ckpt"))
        names = {name.partition("/.ATTRIBUTES")[0] for name, _ in tf.train.list_variables(path)}
        parts = ("evaluated", "regular", "rollbacks", "best/value", "best/step", "best/kind")
        assert names - {"_CHECKPOINTABLE_OBJECT_GRAPH"} == {"step", *(f"progress/{part}" for part in parts)}
