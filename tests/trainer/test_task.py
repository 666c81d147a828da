"""What a task returns, and what the Trainer asks of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer import Task
from tallyloop.trainer.task import loss_tally, split_outputs


class TestLossTally:
    def test_sums_and_counts(self):
        value, count = loss_tally(tf.constant([1.0, 2.0, 4.0]))
        assert (float(value), float(count)) == (7.0, 3.0)

    def test_more_axes(self):
        value, count = loss_tally(tf.ones([4, 5], tf.bfloat16))
        assert (value.dtype, float(value), float(count)) == (tf.float32, 20.0, 20.0)

    def test_takes_a_tally(self):
        value, count = loss_tally(Tally(tf.constant(3.0), tf.constant(2, tf.int64)))
        assert (float(value), float(count)) == (3.0, 2.0)

    def test_one_loss_per_pixel(self):
        pixels = np.random.default_rng(0).uniform(0, 1, (16, 256, 256)).astype(np.float32)
        found = loss_tally(tf.constant(pixels))
        assert float(found.value) == pytest.approx(pixels.sum(dtype=np.float64), rel=3e-7)
        assert (found.value.dtype, float(found.count)) == (tf.float32, pixels.size)

    @pytest.mark.parametrize("losses", [tf.constant([1, 2]), tf.constant([True]), tf.constant([1j])])
    def test_refuses_other_numbers(self, losses):
        with pytest.raises(UsageError, match=f"losses of dtype {losses.dtype.name}: expected floating-point"):
            loss_tally(losses)

    def test_refuses_a_scalar(self):
        with pytest.raises(UsageError, match=r"returned a scalar.*shape \(batch,\).*metrics.Tally\(sum, count\)"):
            loss_tally(tf.constant(0.5))

    def test_splits_off_the_outputs(self):
        tally = Tally(1.0, 2.0)
        assert split_outputs(("losses", "outputs")) == ("losses", "outputs")
        assert split_outputs((tally, None)) == (tally, None)
        assert split_outputs(tally) == (tally, None)
        with pytest.raises(UsageError, match="a tuple of 3"):
            split_outputs((1, 2, 3))


class TestTask:
    def test_names_a_missing_method(self):
        class Unfinished(Task):
            def build_model(self):
                return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

        with pytest.raises(NotImplementedError, match="Task must define build_model"):
            Task().build_model()
        with pytest.raises(NotImplementedError, match="Unfinished must define loss"):
            Unfinished().loss(None, None, training=True)
        with pytest.raises(UsageError, match=r"Unfinished cannot predict.*predict_step"):
            Unfinished().predict_step(None, None)

    def test_check_data_sees_each_dataset(self, regression_task, make_trainer, rows):
        seen = []

        class Checked(regression_task):
            def check_data(self, model, arrays, where):
                seen.append((where, sorted(arrays), len(arrays["x"])))

        datasets = {"a": Input(rows(9), 4), "b": Input(rows(5), 4)}
        make_trainer(Checked(), data=8, eval_datasets=datasets).prepare()
        named = {"Trainer.eval_datasets['a']": 9, "Trainer.eval_datasets['b']": 5, "Trainer.train_dataset": 8}
        assert sorted(seen) == [(name, ["x", "y"], n) for name, n in named.items()]

    def test_check_data_refuses(self, regression_task, make_trainer, tmp_path):
        class Checked(regression_task):
            def check_data(self, model, arrays, where):
                raise UsageError(f"{where} is not right")

        with pytest.raises(UsageError, match=r"Trainer.train_dataset is not right"):
            make_trainer(Checked(), model_dir=tmp_path / "run").train()
        assert not (tmp_path / "run").exists()
