"""What happens at a loss or gradient that is NaN or infinite."""

import shlex
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import NonFiniteError
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import PreemptedError
from tallyloop.trainer.loop import non_finite
from tallyloop.trainer.step.batches import Fetching


@pytest.fixture(scope="module")
def bad_rows(rows):
    """48 rows, three batches of 16; `rows(row, value)` puts a bad label at `row`."""

    def make(row, value=np.nan):
        data = rows(48)
        data["y"][row] = value
        return data

    return make


class Root(keras.layers.Layer):
    """sqrt(w x): at x = 0 the value is 0 and finite, the gradient is not."""

    def build(self, input_shape):
        self.w = self.add_weight(shape=(3,), initializer="ones", name="w")

    def call(self, inputs):
        return tf.reduce_sum(tf.sqrt(inputs * self.w), -1)


@pytest.fixture(scope="module")
def rooted(regression_task):
    class Rooted(regression_task):
        def build_model(self):
            return keras.Sequential([keras.Input((3,)), Root()])

        def loss(self, model, batch, training):
            return model(batch["x"], training=training)

    return Rooted()


def rows_with_a_zero(row):
    data = {"x": np.ones([32, 3], np.float32)}
    data["x"][row, 1] = 0
    return data


def descend(rows_of, steps, skipped=(), rate=0.02):
    """Weights after plain SGD on batches of 16 of 48 rows, without the steps that are skipped."""
    w = np.zeros(4)
    for step in range(steps):
        if step in skipped:
            continue
        part = slice(16 * (step % 3), 16 * (step % 3) + 16)
        x = np.concatenate([rows_of["x"][part], np.ones([16, 1])], 1).astype(np.float64)
        w = w - rate * 2 * (x @ w - rows_of["y"][part]) @ x / 16
    return w


def after_one_update(rows_of, part, rate=0.02):
    """Weights after one update of plain SGD from zero, on these rows."""
    x = np.concatenate([rows_of["x"][part], np.ones([len(part), 1])], 1).astype(np.float64)
    return rate * 2 * rows_of["y"][part] @ x / len(part)


class TestHalt:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_before_the_update(self, make_trainer, weights_of, rows, bad_rows, value):
        """Row 45 is in the third batch, in the second replica's half."""
        trainer = make_trainer(data=bad_rows(45, value), replicas=2, train_steps=9)
        with pytest.raises(NonFiniteError, match=r"Step 3: not finite: loss on replica \[1\].* after step 2\b"):
            trainer.train()
        assert trainer.step == 2
        clean = make_trainer(data=48, replicas=2, train_steps=2)
        clean.train()
        np.testing.assert_array_equal(weights_of(trainer), weights_of(clean))

    def test_names_metrics_too(self, regression_task, make_trainer, bad_rows):
        class Shown(regression_task):
            def loss(self, model, batch, training):
                with metrics.scope("seen"):
                    metrics.add("y", batch["y"])
                    metrics.add("x", batch["x"])
                return super().loss(model, batch, training)

        with pytest.raises(NonFiniteError, match=r"Step 1: not finite: loss on replica \[0\], seen/y on replica \[0\]"):
            make_trainer(Shown(), data=bad_rows(2), replicas=2).train()

    def test_names_the_batch(self, make_trainer, bad_rows):
        with pytest.raises(
            NonFiniteError,
            match=r"The batch: batch 2 of epoch 0 \(counted from 0\), rows \[32, 33, .*47\] of the source",
        ):
            make_trainer(data=bad_rows(45), train_steps=9).train()

    def test_at_a_gradient(self, rooted, make_trainer, weights_of):
        trainer = make_trainer(rooted, data=rows_with_a_zero(30), replicas=2)
        with pytest.raises(NonFiniteError, match="Step 2: not finite: a gradient"):
            trainer.train()
        # One step of d/dw mean(sum sqrt(w)) = 1/2 each, rate 0.02.
        np.testing.assert_allclose(weights_of(trainer), np.full(3, 1 - 0.02 / 2), atol=1e-6)

    def test_among_accumulated_steps(self, make_trainer, weights_of, bad_rows):
        """Steps 4, 5 and 6 make the second update; the NaN is in step 5."""
        trainer = make_trainer(data=bad_rows(4 * 8 + 1), batch=8, train_steps=9, gradient_accumulation=3)
        with pytest.raises(NonFiniteError, match=r"Step(s 4 to 6| 5)\b.*: loss on replica"):
            trainer.train()
        clean = make_trainer(data=48, batch=8, train_steps=3, gradient_accumulation=3)
        clean.train()
        np.testing.assert_array_equal(weights_of(trainer), weights_of(clean))

    def test_not_at_a_metric_alone(self, regression_task, make_trainer):
        class Shown(regression_task):
            def loss(self, model, batch, training):
                metrics.add("bad", batch["y"] * np.inf)
                return super().loss(model, batch, training)

        seen = []
        action = lambda _, summary: seen.append(summary.metrics["bad"])  # noqa: E731
        make_trainer(Shown(), train_steps=2, evaluate=True, actions=[action]).train_and_eval()
        assert len(seen) == 2
        assert not np.isfinite(seen).any()

    @pytest.mark.parametrize("row", [2, 12])
    def test_not_at_an_overflow(self, rooted, make_trainer, weights_of, row):
        """In TensorFlow's own loop only the first replica is asked, and the second one's Inf is applied."""
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.02), initial_scale=1024.0)
        trainer = make_trainer(rooted, data=rows_with_a_zero(row), replicas=2, optimizer=optimizer, train_steps=2)
        trainer.train()
        # The first batch overflows and is skipped; the second one is applied.
        assert float(optimizer.dynamic_scale.numpy()) == 512.0
        np.testing.assert_allclose(weights_of(trainer), np.full(3, 1 - 0.02 / 2), atol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"on_nonfinite": "stop"}, r"Trainer.on_nonfinite = 'stop': expected 'halt', 'skip' or 'rollback'"),
            ({"on_nonfinite": "rollback"}, r"'rollback' needs a model_dir"),
            ({"max_consecutive_skips": 0}, r"Trainer.max_consecutive_skips = 0"),
        ],
    )
    def test_wrong_arguments(self, make_trainer, arguments, message):
        with pytest.raises(UsageError, match=message):
            make_trainer(**arguments)


class TestSkip:
    """Row 20 is in the second of three batches: steps 2, 5, 8, ... are skipped."""

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_counted_and_reported(self, make_trainer, weights_of, rows, bad_rows, replicas, caplog):
        seen = []
        trainer = make_trainer(
            data=bad_rows(20),
            replicas=replicas,
            train_steps=9,
            summary_interval=3,
            on_nonfinite="skip",
            actions=[lambda _, summary: seen.append(summary)],
        )
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), descend(rows(48), 9, {1, 4, 7}), atol=1e-5)
        assert trainer.step == 9
        assert [summary.metrics["skipped"] for summary in seen] == [1.0, 1.0, 1.0]
        assert [summary.counts["loss"] for summary in seen] == [32, 32, 32]  # nor do its metrics count
        assert all(np.isfinite(summary.metrics["loss"]) for summary in seen)
        assert "1 updates were skipped" in caplog.text
        assert "the last at step 2: batch 1 of epoch 0 (counted from 0), rows [16, 17" in caplog.text

    def test_whole_accumulated_update(self, make_trainer, weights_of, rows, bad_rows):
        trainer = make_trainer(
            data=bad_rows(20), train_steps=6, gradient_accumulation=2, on_nonfinite="skip", max_consecutive_skips=1
        )
        trainer.train()
        # The updates are of batches (0, 1), (2, 0), (1, 2).
        np.testing.assert_allclose(weights_of(trainer), after_one_update(rows(48), np.r_[32:48, 0:16]), atol=1e-5)

    def test_too_many_in_a_row(self, make_trainer, rows):
        data = rows(48)
        data["y"][16:] = np.inf
        trainer = make_trainer(data=data, train_steps=9, on_nonfinite="skip", max_consecutive_skips=1)
        with pytest.raises(NonFiniteError, match=r"Step 3: .* after 1 skipped updates in a row.*batch 2 of epoch 0"):
            trainer.train()
        assert trainer.step == 2

    def test_rerun_ends_the_same(self, make_trainer, weights_of, bad_rows, tmp_path):
        arguments = {"data": bad_rows(20), "on_nonfinite": "skip", "max_consecutive_skips": 1}
        whole = make_trainer(train_steps=9, **arguments)
        whole.train()
        make_trainer(train_steps=5, model_dir=tmp_path, **arguments).train()
        rerun = make_trainer(train_steps=9, model_dir=tmp_path, **arguments)
        rerun.train()
        np.testing.assert_array_equal(weights_of(rerun), weights_of(whole))


class TestRollback:
    @pytest.mark.parametrize("streams", [False, True])
    @pytest.mark.parametrize("drop_remainder", [False, True])
    def test_undone_examples_count_as_read(
        self, make_trainer, bad_rows, monkeypatch, tmp_path, streams, drop_remainder
    ):
        """Of 8 batches of 16 the first is for compiling; the others were read, whatever became of their steps."""
        taken, take = [], Fetching.take
        monkeypatch.setattr(Fetching, "take", lambda fetching: taken.append(take(fetching)) or taken[-1])
        data = bad_rows(20)
        source = (lambda: tf.data.Dataset.from_tensor_slices(data)) if streams else data
        trainer = make_trainer(
            train_dataset=Input(source, 16, drop_remainder=drop_remainder, shuffle=False),
            train_steps=8,
            on_nonfinite="rollback",
            model_dir=tmp_path,
        )
        trainer.train()
        assert sum(fetched.examples for fetched in taken) == 7 * 16

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_to_the_last_checkpoint(self, make_trainer, weights_of, rows, bad_rows, replicas, tmp_path, caplog):
        """Saved after 3; step 5 is bad: the updates of steps 4 and 5 are gone, those of 6 and 7 follow."""
        trainer = make_trainer(
            data=bad_rows(20),
            replicas=replicas,
            train_steps=7,
            checkpoint_interval=3,
            on_nonfinite="rollback",
            model_dir=tmp_path,
        )
        trainer.train()
        # Step 2 is bad as well: back to the first weights, which step 0 had saved.
        np.testing.assert_allclose(weights_of(trainer), descend(rows(48), 7, {0, 1, 3, 4}), atol=1e-5)
        assert "Rolled back to the weights of step 3; that batch is skipped" in caplog.text

    def test_rerun_does_not_save_again(self, make_trainer, tmp_path):
        arguments = {"data": 48, "on_nonfinite": "rollback", "model_dir": tmp_path, "checkpoint_interval": 3}
        make_trainer(train_steps=3, **arguments).train()
        index = tmp_path / "checkpoints" / "ckpt-0.index"
        for path in (tmp_path / "checkpoints").glob("ckpt-3.*"):
            path.unlink()
        (tmp_path / "checkpoints" / "checkpoint").unlink()
        before = index.stat().st_mtime_ns
        make_trainer(train_steps=3, **arguments).train()
        assert index.stat().st_mtime_ns == before

    def test_too_often(self, make_trainer, rows, tmp_path):
        data = rows(48)
        data["y"][:] = np.inf
        trainer = make_trainer(
            data=data, train_steps=9, on_nonfinite="rollback", max_consecutive_skips=2, model_dir=tmp_path
        )
        with pytest.raises(NonFiniteError, match=r"Step 3: not finite"):
            trainer.train()

    def test_too_often_between_checkpoints(self, make_trainer, rows, tmp_path):
        """Nor does a restart: no update was finite."""
        data = rows(48)
        data["y"][:] = np.inf
        arguments = {"data": data, "on_nonfinite": "rollback", "max_consecutive_skips": 3, "model_dir": tmp_path}
        make_trainer(train_steps=2, checkpoint_interval=1, **arguments).train()
        with pytest.raises(NonFiniteError, match=r"Step 4: not finite"):
            make_trainer(train_steps=9, checkpoint_interval=1, **arguments).train()

    def test_accumulated_update(self, make_trainer, weights_of, rows, bad_rows, tmp_path):
        """Batches 0 and 1 make the first update, which is bad; 2 and 0 the second, 1 and 2 the third, which is bad again."""
        trainer = make_trainer(
            data=bad_rows(20),
            train_steps=4,
            gradient_accumulation=2,
            on_nonfinite="rollback",
            max_consecutive_skips=1,
            model_dir=tmp_path,
        )
        trainer.train()
        np.testing.assert_allclose(weights_of(trainer), after_one_update(rows(48), np.r_[32:48, 0:16]), atol=1e-5)

    def test_stopped_on_the_way(self, make_trainer, weights_of, bad_rows, tmp_path, monkeypatch):
        """Saved after 3, as it is due, and after 4, as it is stopped there; step 5 goes back to 3."""
        arguments = {"data": bad_rows(20), "train_steps": 9, "checkpoint_interval": 3, "on_nonfinite": "rollback"}
        arguments |= {"steps_per_loop": 1, "keep_checkpoints": 1}
        whole = make_trainer(model_dir=tmp_path / "whole", **arguments)
        whole.train()
        stopped = make_trainer(model_dir=tmp_path / "stopped", **arguments)
        with monkeypatch.context() as patch:
            patch.setattr(preemption, "requested", lambda: stopped.step == 4)
            with pytest.raises(PreemptedError):
                stopped.train()
        rerun = make_trainer(model_dir=tmp_path / "stopped", **arguments)
        rerun.train()
        np.testing.assert_array_equal(weights_of(rerun), weights_of(whole))


class TestCommandToPaste:
    """The last words of a halt, in a shell."""

    @pytest.fixture
    def pasted(self, monkeypatch):
        """pasted(several) -> the words that a shell makes of the command, told by one of several workers or not."""

        def words(several):
            given = ["/bin/tallyloop", "--gin_file=a b.gin", "--workers=2", "--max_restarts", "1", "--mode=train"]
            monkeypatch.setattr("sys.argv", given)
            monkeypatch.setattr(non_finite.workers, "is_multi_worker", lambda strategy: several)
            return shlex.split(non_finite._replay(None, 7))

        return words

    def test_of_one_worker(self, pasted):
        assert pasted(False) == ["tallyloop", "--gin_file=a b.gin", "--mode=train", "--mode=replay", "--step=7"]

    def test_of_several_runs_on_one(self, pasted):
        strategy = "--gin_param=Trainer.strategy=@mirrored()"
        assert pasted(True) == [
            "tallyloop",
            "--gin_file=a b.gin",
            "--mode=train",
            strategy,
            "--mode=replay",
            "--step=7",
        ]

    def test_is_a_line_of_a_shell(self, pasted):
        pasted(True)
        assert subprocess.run(["bash", "-n", "-c", non_finite._replay(None, 7)], capture_output=True).returncode == 0
