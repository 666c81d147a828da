"""Weights of examples and classes, as in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.models import ClassifierTask, RegressionTask, mlp
from tallyloop.models.batch import outputs_of, part_of, weighted

X = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
WEIGHTS = np.array([1, 0, 2.5, 1, 3, 0.25], np.float32)


def loss_of_keras(model, loss, y, **weights):
    model.compile("sgd", loss)
    return float(model.train_on_batch(X, y, **weights))


def loss_of(task, model, y, training=True, **parts):
    """The mean over the examples, as the Trainer takes it."""
    return float(np.mean(task.loss(model, {"x": X, "y": tf.constant(y), **parts}, training)[0]))


@pytest.fixture
def model():
    """A model of two features and three outputs."""
    model = mlp(hidden=(), num_classes=3)
    model.build((None, 2))
    return model


class TestClassWeight:
    y = np.array([0, 1, 2, 2, 1, 0])
    crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    @pytest.mark.parametrize("sample_weight", [None, "w"])
    def test_is_that_of_keras(self, model, sample_weight):
        """A class without a weight has the weight 1; both kinds of weights multiply."""
        task = ClassifierTask(class_weight={0: 4, 2: 0.5}, sample_weight=sample_weight)
        found = loss_of(task, model, self.y, **({"w": WEIGHTS} if sample_weight else {}))
        keras_weights = {"sample_weight": WEIGHTS} if sample_weight else {}
        by_class = np.array([4, 1, 0.5])[self.y]
        expected = loss_of_keras(
            model, self.crossentropy, self.y, sample_weight=by_class * keras_weights.get("sample_weight", 1)
        )
        assert found == pytest.approx(expected, rel=1e-6)

    def test_takes_numbers_of_numpy(self, model):
        """As `dict(zip(np.unique(y), compute_class_weight(...)))` has them."""
        of_numpy = {np.int64(0): np.float32(4), np.int64(2): np.float64(0.5)}
        found = loss_of(ClassifierTask(class_weight=of_numpy), model, self.y)
        assert found == loss_of(ClassifierTask(class_weight={0: 4, 2: 0.5}), model, self.y)

    def test_does_not_act_in_an_evaluation(self, model):
        found = loss_of(ClassifierTask(class_weight={0: 4}), model, self.y, training=False)
        assert found == loss_of(ClassifierTask(), model, self.y, training=False)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"0": 1}, ": class = '0': expected a whole number of at least 0"),
            ({1: -1}, r"\[1\] = -1: expected a number of at least 0"),
            ({1: float("inf")}, r"\[1\] = inf: expected a finite number of at least 0"),
            ([1, 2], r" = \[1, 2\]: expected a dict, class -> weight, got a list"),
            ({3: 1}, " = .*: expected classes from 0 to 2, as the model has 3"),
        ],
    )
    def test_refuses(self, model, weights, message):
        with pytest.raises(UsageError, match=f"ClassifierTask.class_weight{message}"):
            loss_of(ClassifierTask(class_weight=weights), model, self.y)


@pytest.mark.parametrize("task", [ClassifierTask(), RegressionTask(lambda: None)], ids=["classifier", "regression"])
class TestTuples:
    """`(x, y)` and `(x, y, sample_weight)`, as Keras takes them."""

    y = np.array([0, 1, 0, 1, 1, 0])

    @pytest.mark.parametrize("training", [False, True])
    def test_are_as_dicts(self, task, training):
        model = mlp(hidden=(), num_classes=2 if isinstance(task, ClassifierTask) else 1)
        model.build((None, 2))
        y = tf.constant(self.y)
        plain = task.loss(model, {"x": X, "y": y}, training)[0]
        np.testing.assert_array_equal(task.loss(model, (X, y), training)[0], plain)
        np.testing.assert_array_equal(task.loss(model, (X, y, tf.constant(WEIGHTS)), training)[0], plain * WEIGHTS)
        found, expected = (task.predict_step(model, batch) for batch in ((X,), {"x": X}))
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


class TestWeighted:
    y = np.array([0.5, 1, -2, 2, 1, 0], np.float32)

    @pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
    def test_is_that_of_keras(self, loss):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        found = loss_of(RegressionTask(lambda: model, loss=loss, sample_weight="w"), model, self.y, w=WEIGHTS)
        assert found == pytest.approx(loss_of_keras(model, loss, self.y, sample_weight=WEIGHTS), rel=1e-6)

    def test_an_evaluation_may_lack_the_weights(self):
        losses = tf.constant([1.0, 2.0])
        assert weighted(losses, {"x": 0}, "w", training=False, task="It") is losses
        with pytest.raises(UsageError, match=r"The batch: expected the key 'w', got .'x'.; set It.sample_weight"):
            weighted(losses, {"x": 0}, "w", training=True, task="It")

    def test_refuses_weights_of_another_shape(self):
        with pytest.raises(UsageError, match=r"It.sample_weight = 'w': .* of shape \(n,\), got shape \(2, 1\)"):
            weighted(tf.zeros(2), {"w": tf.ones([2, 1])}, "w", training=False, task="It")


class TestPartOf:
    def test_of_a_tuple_is_by_place(self):
        assert part_of((1, 2), "labels", 1, "here", "do that") == 2

    def test_refuses_what_has_no_parts(self):
        with pytest.raises(UsageError, match="here: expected the key 'x', got EagerTensor; do that"):
            part_of(tf.zeros(3), "x", 0, "here", "do that")
        with pytest.raises(
            UsageError, match=r"here: expected a tuple \(x, y\) or a dict with the key 'y', got a tuple of 1"
        ):
            part_of((1,), "y", 1, "here", "do that")


class TestOutputsOf:
    def test_are_the_models(self, model):
        np.testing.assert_array_equal(outputs_of(model, tf.constant(X), False, "It", "do that"), model(X))

    def test_refuses_what_the_model_does_not_take(self, model):
        with pytest.raises(UsageError) as caught:
            outputs_of(model, tf.zeros([6, 5]), False, "It.model", "do that")
        told = str(caught.value)
        assert told.startswith("It.model: expected inputs that it accepts, got float32 of shape (batch, 5): Input 0 ")
        assert told.endswith(
            "expected axis -1 of input shape to have value 2, but received input with shape (6, 5); do that"
        )
