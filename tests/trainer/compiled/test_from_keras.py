"""A compiled model trains as `fit(shuffle=False)` trains it on one device, on any number of replicas."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
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
                np.testing.assert_allclose(mine.numpy(), its.numpy(), atol=1e-6, err_msg=its.path)


class OwnStep(keras.Model):
    def train_step(self, data): ...


def compiled(model):
    model.compile("sgd", "mse")
    return model


def small(loss="mse", units=1, **arguments):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
    model.compile("sgd", loss, **arguments)
    return model


def frozen():
    model = small()
    model.trainable = False
    return model


DATA = Input((models.X, models.Y), 16)
NO_MODEL = [
    (keras.Sequential, "is not compiled: expected model.compile"),
    (lambda: compiled(OwnStep()), "OwnStep overrides train_step, which is not called"),
    (frozen, "has no variable to train"),
    (lambda: "model", "compiled_model = 'model': expected a compiled keras.Model"),
]
NO_ARGUMENTS = [
    ({"train_dataset": (models.X, models.Y)}, r"train_dataset = tuple: expected an Input, such as Input\(\(x, y\)"),
    ({"eval_datasets": DATA}, r"eval_datasets = Input: expected a dict of name -> Input"),
    ({"eval_datasets": {"val": (models.X, models.Y)}}, r"eval_datasets\['val'\] = tuple: expected an Input"),
    ({"train_dataset": None}, "expected a train_dataset or eval_datasets, got none"),
    ({"epochs": 3}, "got epochs=.*Instead: train_epochs"),
    ({"batch_size": 16}, "got batch_size=.*Instead: Input"),
    ({"optimizer": "adam"}, "the optimizer is that of compile"),
    ({"summary_intervall": 3}, 'summary_intervall.*did you mean "summary_interval"'),
    ({"train_epochs": 2, "train_steps": 3}, "expected one of them"),
    ({"train_dataset": Input(([models.X, models.X], models.Y), 16)}, "arrays of different lengths"),
]
NO_DATA = [
    ((models.X,), small, r"the batches are \(x,\).*which need labels"),
    ((models.X[:, :2], models.Y), small, r"does not take the x of the source, float32\(batch, 2\): .*expected axis -1"),
    ((models.X, models.CLASSES), lambda: small("categorical_crossentropy", 3), r"don't fit.*got y = int64\(batch\)"),
    ((models.X, models.Y), lambda: small(metrics=["acurracy"]), "Could not interpret metric identifier: acurracy"),
]


class TestMistakes:
    @pytest.mark.parametrize(("make", "told"), NO_MODEL, ids=["uncompiled", "own step", "frozen", "text"])
    def test_of_the_model(self, make, told):
        with pytest.raises(UsageError, match=told):
            from_keras(make(), DATA)

    @pytest.mark.parametrize(("given", "told"), NO_ARGUMENTS, ids=lambda value: "" if isinstance(value, str) else None)
    def test_of_the_arguments(self, given, told):
        with pytest.raises(UsageError, match=told):
            from_keras(small(), **{"train_dataset": DATA, **given})

    @pytest.mark.parametrize(("data", "make", "told"), NO_DATA, ids=["no labels", "x", "y", "metric"])
    def test_of_the_data(self, data, make, told):
        with pytest.raises(UsageError, match=told):
            from_keras(make(), Input(data, 16)).prepare()

    def test_in_a_scope(self, mirrored_on):
        model = small()
        with mirrored_on(2).scope(), pytest.raises(UsageError, match="call it outside any"):
            from_keras(model, DATA)


class TestDefaults:
    def test_one_epoch_that_continues_the_state_of_fit(self):
        model, other = (made(models.dense)[0] for _ in range(2))
        for each in (model, other):
            each.fit(models.X, models.Y, batch_size=BATCH, shuffle=False, verbose=0)
        model.fit(models.X, models.Y, batch_size=BATCH, shuffle=False, verbose=0)
        trainer = from_keras(other, Input((models.X, models.Y), BATCH, shuffle=False))
        trainer.train()
        assert trainer.step == 3
        assert trainer.model is other
        for mine, its in zip(other.weights, model.weights, strict=True):
            np.testing.assert_allclose(mine.numpy(), its.numpy(), atol=1e-6)
