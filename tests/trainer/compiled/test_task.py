"""The batches, outputs and structures that the task of a compiled model takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.task import CompiledTask
from tallyloop.trainer.task import SumOfMeans

from . import models


def task_of(kind):
    model, data, *extra = kind()
    task = CompiledTask(model, Input(data, 16), **(extra[0] if extra else {}))
    return task, task.build_model(), tf.nest.map_structure(lambda array: tf.constant(array[:6]), data)


class TestLosses:
    def test_one_per_example(self):
        task, model, (x, y) = task_of(models.dense)
        losses, _ = task.loss(model, (x, y), training=False)
        np.testing.assert_allclose(losses, (model(x)[:, 0] - y) ** 2, rtol=1e-6)

    def test_several_counts(self):
        task, model, batch = task_of(models.masked_and_not)
        losses, _ = task.loss(model, batch, training=False)
        assert isinstance(losses, SumOfMeans)
        rows, masked = losses.parts
        assert rows.shape == (6,)
        assert float(masked.count) == np.count_nonzero(models.TOKENS[:6])

    def test_classes_weigh_in_training_only(self):
        task, model, (x, y) = task_of(models.class_weight)
        trained, _ = task.train_step(model, (x, y))
        evaluated, _ = task.eval_step(model, (x, y))
        np.testing.assert_allclose(trained, evaluated * np.where(y == 2, 5.0, 1.0), rtol=1e-6)

    def test_predictions_are_the_outputs(self):
        task, model, (x, y) = task_of(models.dense)
        np.testing.assert_array_equal(task.predict_step(model, (x, y)), model(x))


class TestBatches:
    @pytest.mark.parametrize("data", [{"x": models.X, "y": models.Y}, (models.X,) * 4], ids=["dict", "four"])
    def test_of_another_structure(self, data):
        model, _ = models.dense()
        with pytest.raises(UsageError, match=r"a batch is a (dict|tuple of 4): expected \(x, y\) or"):
            CompiledTask(model, Input(data, 16)).build_model()

    def test_building_changes_no_state(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.GaussianNoise(1.0), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        before = [v.numpy() for v in model.variables]
        CompiledTask(model, Input((models.X, models.Y), 16)).build_model()
        for v, old in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(v.numpy(), old)
