"""The regression task: its shapes, its metrics, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.models import RegressionTask
from tallyloop.trainer import Trainer

X = np.arange(5, dtype=np.float32)[:, np.newaxis]
Y = np.array([0, 1, 4, 9, 16], np.float32)


def doubling(shape=(1,)):
    """A model of x -> 2x, in an output of this shape per example."""
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(2)),
            keras.layers.Reshape(shape),
        ]
    )


class TestRegressionTask:
    def test_its_numbers(self):
        """Errors 0, 1, 0, -3, -8: squares 74 / 5, absolute 12 / 5."""
        trainer = Trainer(task=RegressionTask(doubling), eval_datasets={"test": Input({"x": X, "y": Y}, 2)})
        found = trainer.evaluate()["test"]
        assert found["loss"] == pytest.approx(74 / 5, rel=1e-6)
        assert found["mae"] == pytest.approx(12 / 5, rel=1e-6)
        assert found["rmse"] == pytest.approx(np.sqrt(74 / 5), rel=1e-6)
        assert trainer.predict(Input({"x": X, "y": Y}, 2)).tolist() == [0, 2, 4, 6, 8]

    @pytest.mark.parametrize("output", [(), (1,)])
    @pytest.mark.parametrize("target", [(5,), (5, 1)])
    def test_one_number_in_any_shape(self, output, target):
        """(batch, 1) minus (batch,) would be (batch, batch)."""
        task = RegressionTask(lambda: doubling(output))
        losses, predicted = task.loss(task.build_model(), {"x": X, "y": tf.constant(Y.reshape(target))}, training=False)
        np.testing.assert_allclose(losses, [0, 1, 0, 9, 64])
        assert predicted.shape == target

    def test_several_numbers(self):
        """The loss is the mean over them."""
        task = RegressionTask(lambda: keras.layers.Identity())
        losses, _ = task.loss(
            task.build_model(), {"x": tf.constant([[1.0, 2.0]]), "y": tf.constant([[0, 5]])}, training=False
        )
        assert losses.numpy().tolist() == [(1 + 9) / 2]

    def test_refuses_other_shapes(self):
        task = RegressionTask(lambda: keras.layers.Identity())
        with pytest.raises(
            UsageError, match=r"expected predictions of the shape of the targets 'y', \(5, 2\), got \(5, 1\)"
        ):
            task.loss(task.build_model(), {"x": tf.constant(X), "y": tf.zeros([5, 2])}, training=False)

    def test_refuses_a_model_and_unknown_losses(self):
        with pytest.raises(UsageError, match="write @my_model, not @my_model"):
            RegressionTask(doubling())
        with pytest.raises(UsageError, match=r"RegressionTask.loss = 'l2': expected 'mse', 'mae' or 'huber'"):
            RegressionTask(doubling, loss="l2")
