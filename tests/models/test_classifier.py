"""The classification task: its losses, its predictions, and what it refuses."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import confusion_matrix, top_k_accuracy_score
from tallyloop.metrics import UsageError
from tallyloop.models import ClassifierTask, class_confusion, cnn, mlp, top_k_accuracy


@pytest.fixture(scope="module")
def model():
    """A built model of two features and three classes."""
    model = mlp(hidden=(), num_classes=3)
    model.build((None, 2))
    return model


class TestLoss:
    def test_is_the_cross_entropy_of_each_example(self, model, dense, rng):
        x, y = rng.normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 2, 2, 1])
        task = ClassifierTask(features="image", labels="digit")
        batch = {"image": tf.constant(x), "digit": tf.constant(y)}
        losses, logits = task.loss(model, batch, training=False)
        exact = dense(x, model.layers[-1])
        probabilities = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
        np.testing.assert_allclose(logits, exact, atol=1e-6)
        np.testing.assert_allclose(losses, -np.log(probabilities[np.arange(5), y]), atol=1e-6)
        predicted = task.predict_step(model, batch)
        np.testing.assert_array_equal(predicted["label"], exact.argmax(1))
        np.testing.assert_allclose(predicted["probabilities"], probabilities, atol=1e-6)

    def test_takes_small_label_types(self, model, rng):
        x, y = rng.normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 2, 2, 1])
        losses = [ClassifierTask().loss(model, {"x": x, "y": tf.constant(y, t)}, False)[0] for t in ("uint8", "int64")]
        np.testing.assert_array_equal(*losses)

    def test_takes_several_features(self, rng, refused):
        """A dict in a dict, for a model of several inputs; as an array, the labels are all checked before the first step."""
        inputs = {name: keras.Input((2,), name=name) for name in ("a", "b")}
        model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Add()(list(inputs.values()))))
        features = {name: rng.normal(size=(5, 2)).astype(np.float32) for name in inputs}
        y = np.array([0, 1, 2, 2, 3])
        assert ClassifierTask().loss(model, {"x": features, "y": tf.constant(y) % 3}, training=True)[0].shape == 5
        for arrays in ({"x": features, "y": y}, (features, y)):
            ClassifierTask().check_data(model, tf.nest.map_structure(lambda array: array[:4], arrays), "here")
            with refused("here: expected labels from 0 to 2, as the model has 3 classes, got 3 for example 4"):
                ClassifierTask().check_data(model, arrays, "here")
        with refused("here: the model does not accept the features 'x', {'a': 'float32 of shape (5, 2)'}"):
            ClassifierTask().check_data(model, {"x": {"a": features["a"]}, "y": y}, "here")

    def test_takes_strings_if_the_model_does(self):
        layers = [keras.layers.StringLookup(vocabulary=["a", "b"]), keras.layers.Embedding(3, 4)]
        model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2)])
        batch = {"x": tf.constant([["a", "b"], ["b", "b"]]), "y": tf.constant([0, 1])}
        task = ClassifierTask()
        assert task.loss(model, batch, training=False)[1].shape == (2, 2)
        task.check_data(model, {key: value.numpy() for key, value in batch.items()}, "here")

    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            (
                {"x": tf.zeros([1, 2]), "y": tf.zeros([1])},
                "The batch: expected integers of shape (n,) as labels 'y', got float32",
            ),
            (
                {"x": tf.zeros([1, 2]), "y": tf.zeros([1, 1], tf.int64)},
                "labels 'y', got int64 of shape (1, 1); convert them in Input.map_fn",
            ),
            (
                {"x": tf.constant([["a", "b"]]), "y": tf.zeros([1], tf.int64)},
                "expected features 'x' that the model accepts, got strings",
            ),
        ],
    )
    def test_refuses_batches_of_other_types_before_the_model_is_built(self, refused, batch, message):
        with refused(message):
            ClassifierTask().loss(mlp(num_classes=3), batch, training=False)

    def test_refuses_outputs_that_are_not_logits(self, refused):
        task, model = ClassifierTask(), keras.Sequential([keras.layers.Dense(3)])
        with refused("expected logits of shape (batch, classes), got outputs of shape (4, 5, 3)"):
            task.loss(model, {"x": tf.zeros([4, 5, 2]), "y": tf.zeros([4], tf.int64)}, training=False)

    @pytest.mark.parametrize("keys", [("image", "y"), ("x", "label"), None])
    def test_names_a_missing_key(self, model, keys):
        parts = tf.zeros([1, 2]), tf.zeros([1], tf.int64)
        batch = dict(zip(keys, parts, strict=True)) if keys else parts[0]
        with pytest.raises(
            UsageError, match=r"expected the key '[xy]', got .*set ClassifierTask.features and ClassifierTask.labels"
        ):
            ClassifierTask().loss(model, batch, training=False)


class TestCheckData:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 1, 3, 2], "expected labels from 0 to 2, as the model has 3 classes, got 3 for example 2"),
            ([0, -1, 1, 2], "got -1 for example 1"),
            ([0.0, 1.0, 1.0, 2.0], "expected integers of shape (n,) as labels 'y', got float64"),
            ([[0], [1], [1], [2]], "as labels 'y', got int64 of shape (4, 1)"),
        ],
    )
    def test_refuses_labels_that_are_not_classes(self, model, refused, labels, message):
        arrays = {"x": np.zeros([4, 2], np.float32), "y": np.array(labels)}
        with refused(message) as caught:
            ClassifierTask().check_data(model, arrays, "Trainer.train_dataset")
        assert str(caught.value).startswith("Trainer.train_dataset: ")

    @pytest.mark.parametrize(
        ("make", "fix"),
        [
            (mlp, " (mlp.num_classes)"),
            (cnn, " (cnn.num_classes)"),
            (lambda: None, ""),
            (functools.partial(mlp, num_classes=3), ""),
        ],
    )
    def test_names_the_model_function(self, model, refused, make, fix):
        arrays = {"x": np.zeros([1, 2], np.float32), "y": np.array([3])}
        with refused(f"got 3 for example 0; raise the number of classes{fix} or fix the labels"):
            ClassifierTask(make).check_data(model, arrays, "here")

    def test_accepts_labels_that_are_classes(self, model):
        arrays = {"x": np.zeros([3, 2], np.float32), "y": np.array([0, 2, 1], np.uint8)}
        ClassifierTask().check_data(model, arrays, "here")

    def test_names_the_dataset_of_features_of_another_width(self, model, refused):
        arrays = {"x": np.zeros([3, 5], np.float32), "y": np.array([0, 2, 1])}
        with refused("here: the model does not accept the features 'x', float32 of shape (3, 5)"):
            ClassifierTask().check_data(model, arrays, "here")


def test_a_built_model_is_refused(refused):
    with refused("expected a function that makes the model") as caught:
        ClassifierTask(model=mlp())
    assert "write @mlp, not @mlp()" in str(caught.value)


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_accuracy_is_that_of_scikit_learn(rng, k):
    logits, y = rng.normal(size=(40, 6)).astype(np.float32), np.arange(40) % 6
    hits, count = top_k_accuracy({"y": tf.constant(y)}, tf.constant(logits), k=k)
    assert int(hits) / int(count) == top_k_accuracy_score(y, logits, k=k)


@pytest.mark.parametrize("labels", ["uint8", "int16", "int64"])
@pytest.mark.parametrize("logits", ["bfloat16", "float16", "float64"])
def test_top_k_accuracy_takes_all_types(labels, logits):
    """2 of 3: the label 0 has the least of three logits."""
    outputs = tf.cast([[3, 2, 1], [1, 2, 3], [1, 2, 3]], logits)
    hits, count = top_k_accuracy({"y": tf.cast([1, 2, 0], labels)}, outputs, k=2)
    assert (int(hits), int(count)) == (2, 3)


def test_class_confusion_is_that_of_scikit_learn(rng, refused):
    logits, y = rng.normal(size=(40, 4)).astype(np.float32), np.arange(40) % 4
    found = class_confusion({"digit": tf.constant(y)}, tf.constant(logits), labels="digit")
    np.testing.assert_array_equal(found.value, confusion_matrix(y, logits.argmax(1)))
    assert int(found.count) == 40
    with refused("The batch: expected the key 'y', got ['digit']; set class_confusion.labels"):
        class_confusion({"digit": tf.constant(y)}, tf.constant(logits))
