"""The parts of the state that a session adds: the metrics' sums and the position in the data; warnings on a restore."""

import keras
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.trainer.checkpointing.retention import Best
from tallyloop.trainer.loop.progress import Progress
from tallyloop.trainer.loop.train_session import DataPosition, MetricSums


@pytest.fixture
def progress():
    return Progress(Best(None, None))


class Sums:
    """Stands in for an accumulator; `same` says whether the restored sums are of the same metrics."""

    def __init__(self, same=True):
        self.same, self.calls = same, []

    def drain(self):
        self.calls.append("drain")
        return "the sums"

    def state(self):
        return {"tallies": tf.Variable([1.0])}

    def before_save(self):
        self.calls.append("before_save")

    def after_restore(self):
        self.calls.append("after_restore")
        return self.same


class TestMetricSums:
    def test_counts_the_steps_since_the_last_drain(self, progress):
        sums = MetricSums(Sums(), progress)
        progress.step_variable.assign(5)
        assert sums.steps == 5
        assert sums.drain() == "the sums"
        progress.step_variable.assign(7)
        assert sums.steps == 2
        sums.start_here()
        assert sums.steps == 0
        assert sums.accumulator.calls == ["drain"]

    def test_continues_after_a_restore(self, progress):
        """Saved at step 7, three steps after a drain."""
        saved = MetricSums(Sums(), progress)
        progress.step_variable.assign(4)
        saved.drain()
        progress.step_variable.assign(7)
        saved.before_save()
        restored = MetricSums(Sums(), progress)
        state = restored.state()
        assert state.keys() == {"tallies", "summed_from"}
        state["summed_from"].assign(saved.state()["summed_from"])
        restored.after_restore()
        assert restored.steps == 3
        assert (saved.accumulator.calls, restored.accumulator.calls) == (["drain", "before_save"], ["after_restore"])

    def test_drops_the_sums_of_other_metrics(self, progress, caplog):
        progress.step_variable.assign(7)
        sums = MetricSums(Sums(same=False), progress)
        sums.after_restore()
        assert sums.steps == 0
        assert "The checkpoint has other metrics: the next train summary starts at its step" in caplog.text


class TestDataPosition:
    def test_seeks_the_restored_step(self, progress):
        class Feed:
            sought = None

            def checkpoint_items(self):
                return {"iterator": tf.Variable(3)}

            def before_save(self, total):
                self.saved = total(3)

            def seek(self, step):
                self.sought = step

        feed = Feed()
        position = DataPosition(feed, progress, lambda mine: 2 * mine)
        assert set(tf.train.TrackableView.children(position.state()["data"])) >= {"iterator"}
        position.before_save()
        assert (feed.sought, feed.saved) == (None, 6)
        progress.step_variable.assign(11)
        position.after_restore()
        assert feed.sought == 11


class TestRestore:
    def test_other_metrics(self, regression_task, make_trainer, tmp_path, caplog):
        """Stopped 2 steps after a summary; the rerun has one metric more, and sums 6 - 5 steps only."""

        class More(regression_task):
            def loss(self, model, batch, training):
                metrics.add("more", batch["y"])
                return super().loss(model, batch, training)

        seen = []
        arguments = {"summary_interval": 3, "model_dir": tmp_path}
        make_trainer(train_steps=5, **arguments).train()
        make_trainer(More(), train_steps=6, actions=[lambda _, s: seen.append(s)], **arguments).train()
        assert "The checkpoint has other metrics" in caplog.text
        # Batches of 16, 16 and 8 rows: step 6 has the last 8.
        assert [(summary.step, summary.counts) for summary in seen] == [(6, {"loss": 8, "more": 8, "learning_rate": 1})]

    def test_other_number_of_replicas(self, layered, make_trainer, tmp_path, caplog):
        """Dropout draws its masks for each replica."""
        dropout = lambda: keras.layers.Dropout(0.5, name="drop")  # noqa: E731
        make_trainer(layered(dropout), replicas=1, train_steps=1, model_dir=tmp_path).train()
        make_trainer(layered(dropout), replicas=2, train_steps=2, model_dir=tmp_path).prepare(evaluate=False)
        assert "written by 1 replicas, and there are 2: " in caplog.text
        assert "drop" in caplog.text
        assert "will not continue exactly" in caplog.text


@pytest.mark.parametrize(
    ("accumulation", "options", "rate"), [(2, {}, 0.05), (1, {"gradient_accumulation_steps": 2}, 0.0)]
)
def test_schedules_count_updates_or_as_keras_does_steps(make_trainer, accumulation, options, rate):
    """A decay from 0.1 to 0 over 8: after 8 steps and 4 updates."""
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 8, 0.0)
    trainer = make_trainer(
        optimizer=lambda: keras.optimizers.SGD(schedule, **options), train_steps=8, gradient_accumulation=accumulation
    )
    trainer.train()
    assert trainer._session.known()["learning_rate"] == pytest.approx(rate, abs=1e-7)
