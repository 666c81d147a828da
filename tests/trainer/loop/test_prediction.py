"""Prediction: every example once and in order."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError


@pytest.fixture(scope="module")
def trainer(regression_task, make_trainer):
    class Numbered(regression_task):
        def predict_step(self, model, batch):
            return {"same": batch["x"], "nested": (batch["y"] * 2, model(batch["x"])[:, 0])}

    trainer = make_trainer(Numbered(), data=20, replicas=2, train_steps=2)
    trainer.train()
    return trainer


class TestPredict:
    @pytest.mark.parametrize("batch", [1, 8, 37, 100])
    def test_each_example_once_in_order(self, trainer, rows, batch):
        data = rows(37)
        found = trainer.predict(Input(data, batch, shuffle=True))
        np.testing.assert_array_equal(found["same"], data["x"])
        np.testing.assert_array_equal(found["nested"][0], 2 * data["y"])
        kernel, bias = trainer.model.get_weights()
        np.testing.assert_allclose(found["nested"][1], data["x"] @ kernel[:, 0] + bias, rtol=1e-5, atol=1e-5)

    def test_stream(self, trainer, rows):
        data = rows(21)
        found = trainer.predict(Input(lambda: tf.data.Dataset.from_tensor_slices(data), 8))
        np.testing.assert_array_equal(found["same"], data["x"])

    def test_task_that_cannot(self, make_trainer, rows):
        with pytest.raises(UsageError, match="Regression cannot predict"):
            make_trainer().predict(Input(rows(3), 2))
