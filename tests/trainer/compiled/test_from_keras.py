"""A compiled model trains as `fit(shuffle=False)` trains it on one device, on any number of replicas."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.trainer import from_keras

from . import models

BATCH = 16
EPOCHS = 2


def made(kind):
    keras.utils.set_random_seed(7)
    model, data, *extra = kind()
    return model, data, extra[0] if extra else {}


def fitted(kind):
    """The model after `fit`, and its history."""
    model, data, extra = made(kind)
    arguments = dict(zip(("x", "y", "sample_weight"), map(models.as_lists, data), strict=False))
    history = model.fit(**arguments, **extra, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    return model, history.history


def trainer_of(kind, **arguments):
    model, data, extra = made(kind)
    return from_keras(model, Input(data, BATCH, shuffle=False), train_epochs=EPOCHS, **extra, **arguments)


def is_of_fit(name, kind):
    """Whether `fit` reports the metric as the mean over the epoch's examples.

    It averages over the batches instead what is divided by unmasked elements or by weights, and, of equal weight, the losses of
    several outputs.
    """
    divided = (models.masked_loss, models.masked_and_weighted, models.masked_and_not, models.mean_with_sample_weight)
    return not name.endswith("_loss") and not (name == "loss" and kind in divided)


@pytest.mark.parametrize("kind", models.ALL, ids=lambda kind: kind.__name__)
class TestFit:
    def test_same_weights_and_metrics(self, kind):
        model, history = fitted(kind)
        reported = []
        trainer = trainer_of(kind, actions=[lambda _, summary: reported.append(summary.metrics)])
        trainer.train()
        self.assert_same(trainer, model)
        for name, values in history.items():
            if is_of_fit(name, kind):
                np.testing.assert_allclose([metrics[name] for metrics in reported], values, rtol=2e-5, err_msg=name)

    def test_same_weights_on_replicas(self, kind, mirrored_on):
        if kind is models.dropout:
            pytest.skip("each replica drops other units, which is meant")
        model, _ = fitted(kind)
        trainer = trainer_of(kind, strategy=mirrored_on(2))
        trainer.train()
        self.assert_same(trainer, model)

    @staticmethod
    def assert_same(trainer, model):
        with trainer._averaged.in_use():  # what `fit` leaves in the model, and what evaluate and export use
            for mine, its in zip(trainer.model.weights, model.weights, strict=True):
                np.testing.assert_allclose(mine.numpy(), its.numpy(), atol=2e-6, err_msg=its.path)
