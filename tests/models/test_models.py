import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import top_k_accuracy_score
from tallyloop import models
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.models import AutoencoderTask, ClassifierTask, mlp, top_k_accuracy, two_stage_autoencoder
from tallyloop.trainer import Trainer

RNG = np.random.default_rng(11)


def dense(x, layer, activation=lambda x: x):
    kernel, bias = (weight.astype(np.float64) for weight in layer.get_weights())
    return activation(x @ kernel + bias)


def relu(x):
    return np.maximum(x, 0)


def test_what_the_package_offers_are_functions_and_classes():
    for name in models.__all__:
        assert callable(getattr(models, name)), name


def test_mlp_flattens_and_gives_logits():
    x = RNG.normal(size=(7, 2, 3)).astype(np.float32)
    model = mlp(hidden=(4, 5), num_classes=3)
    logits = model(x)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in layers] == [4, 5, 3]
    expected = dense(dense(dense(x.reshape(7, 6), layers[0], relu), layers[1], relu), layers[2])
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_mlp_drops_out_after_each_hidden_layer_in_training_only():
    model = mlp(hidden=(50, 50), dropout=0.5, activation="linear")
    x = np.ones([3, 4], np.float32)
    assert [type(layer).__name__ for layer in model.layers].count("InvariantDropout") == 2
    np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
    assert (model(x, training=True).numpy() != model(x, training=True).numpy()).any()


def test_top_k_accuracy_is_that_of_scikit_learn():
    logits, y = RNG.normal(size=(40, 6)).astype(np.float32), np.arange(40) % 6
    for k in (1, 3):
        hits, count = top_k_accuracy({"y": tf.constant(y)}, tf.constant(logits), k=k)
        assert int(hits) / int(count) == top_k_accuracy_score(y, logits, k=k)


class TestClassifier:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        model = mlp(hidden=(), num_classes=3)
        model.build((None, 2))
        return model

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 1, 3, 2], "label 3 of example 2 is out of range: the model has 3 classes, so wanted 0 to 2"),
            ([0, -1, 1, 2], "label -1 of example 1 is out of range"),
            ([0.0, 1.0, 1.0, 2.0], r"'y' must be integers of shape \(n,\), got float64"),
            ([[0], [1], [1], [2]], r"'y' must be integers of shape \(n,\), got int64 of shape \(4, 1\)"),
        ],
    )
    def test_labels_that_are_no_classes_are_refused(self, model, labels, message):
        arrays = {"x": np.zeros([4, 2], np.float32), "y": np.array(labels)}
        with pytest.raises(UsageError, match=message) as caught:
            ClassifierTask().check_data(model, arrays, "Trainer.train_dataset")
        assert str(caught.value).startswith("Trainer.train_dataset: ")

    def test_labels_that_are_classes_pass(self, model):
        arrays = {"x": np.zeros([3, 2], np.float32), "y": np.array([0, 2, 1], np.uint8)}
        ClassifierTask().check_data(model, arrays, "here")

    @pytest.mark.parametrize(
        ("batch", "message"),
        [
            ({"x": tf.zeros([1, 2]), "y": tf.zeros([1])}, r"The batch: .*'y' must be integers .*got float32 .*map_fn"),
            ({"x": tf.zeros([1, 2]), "y": tf.zeros([1, 1], tf.int64)}, r"'y' must be .*got int64 of shape \(1, 1\)"),
            ({"x": tf.constant([["a", "b"]]), "y": tf.zeros([1], tf.int64)}, "features 'x' are strings"),
        ],
    )
    def test_batches_of_other_types_are_refused_by_an_unbuilt_model_too(self, batch, message):
        with pytest.raises(UsageError, match=message):
            ClassifierTask().loss(mlp(num_classes=3), batch, training=False)

    def test_outputs_that_are_no_logits_are_refused(self):
        task, model = ClassifierTask(), keras.Sequential([keras.layers.Dense(3)])
        with pytest.raises(UsageError, match=r"outputs of shape \(4, 5, 3\): wanted logits, \(batch, classes\)"):
            task.loss(model, {"x": tf.zeros([4, 5, 2]), "y": tf.zeros([4], tf.int64)}, training=False)

    def test_features_of_another_width_are_named_with_their_dataset(self, model):
        arrays = {"x": np.zeros([3, 5], np.float32), "y": np.array([0, 2, 1])}
        with pytest.raises(
            UsageError, match=r"here: the model does not take the features 'x', float32 of shape \(3, 5\)"
        ):
            ClassifierTask().check_data(model, arrays, "here")

    def test_a_model_may_take_strings(self):
        layers = [keras.layers.StringLookup(vocabulary=["a", "b"]), keras.layers.Embedding(3, 4)]
        model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(2)])
        batch = {"x": tf.constant([["a", "b"], ["b", "b"]]), "y": tf.constant([0, 1])}
        task = ClassifierTask()
        assert task.loss(model, batch, training=False)[1].shape == (2, 2)
        task.check_data(model, {key: value.numpy() for key, value in batch.items()}, "here")

    def test_small_label_types_work(self, model):
        x, y = RNG.normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 2, 2, 1])
        losses = [ClassifierTask().loss(model, {"x": x, "y": tf.constant(y, t)}, False)[0] for t in ("uint8", "int64")]
        np.testing.assert_array_equal(*losses)

    @pytest.mark.parametrize("keys", [("image", "y"), ("x", "label"), None])
    def test_a_missing_key_is_named_with_those_there_are(self, model, keys):
        parts = tf.zeros([1, 2]), tf.zeros([1], tf.int64)
        batch = dict(zip(keys, parts, strict=True)) if keys else parts
        with pytest.raises(
            UsageError, match=r"has no '[xy]', it has .*set ClassifierTask.features and ClassifierTask.labels"
        ):
            ClassifierTask().loss(model, batch, training=False)

    def test_a_made_model_is_refused(self):
        with pytest.raises(UsageError, match=r"ClassifierTask.model = .*write @mlp, not @mlp()"):
            ClassifierTask(model=mlp())

    def test_loss_and_predictions(self, model):
        x, y = RNG.normal(size=(5, 2)).astype(np.float32), np.array([0, 1, 2, 2, 1])
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


@pytest.mark.parametrize("replicas", [1, 4])
def test_the_autoencoder_shows_its_parts_and_what_is_inside(mirrored_on, replicas):
    """21 rows in batches of 16: a ragged batch of 5."""
    x = RNG.normal(size=(21, 6)).astype(np.float32)
    trainer = Trainer(
        AutoencoderTask(lambda: two_stage_autoencoder(width=5, code=3, features=6), sparsity=0.1),
        strategy=mirrored_on(replicas),
        eval_datasets={"test": Input({"x": x}, 16)},
    )
    model = trainer.model
    found = trainer.evaluate()["test"]
    hidden = dense(x.astype(np.float64), model.stage_1.dense, relu)
    code = dense(hidden, model.stage_2.dense, relu)
    first, last = model.decoder.layers
    reconstruction = dense(dense(code, first, relu), last)
    parts = ((reconstruction - x) ** 2).mean(), np.abs(code).sum(1).mean()
    expected = {
        "loss": parts[0] + 0.1 * parts[1],
        "loss/total": parts[0] + 0.1 * parts[1],
        "loss/reconstruction": parts[0],
        "loss/sparsity": parts[1],
        "stage_1/activation": hidden.mean(),
        "stage_1/active": (hidden > 0).mean(),
        "stage_2/activation": code.mean(),
        "stage_2/active": (code > 0).mean(),
    }
    assert found == {path: pytest.approx(value, rel=1e-5) for path, value in expected.items()}
    predicted = trainer.predict(Input({"x": x}, 8))
    np.testing.assert_allclose(predicted["code"], code, atol=1e-5)
    np.testing.assert_allclose(predicted["reconstruction"], reconstruction, atol=1e-5)


def test_the_autoencoder_loads_from_its_file(tmp_path):
    x = RNG.normal(size=(4, 6)).astype(np.float32)
    model = two_stage_autoencoder(width=5, code=3, features=6)
    before = model(x)
    model.save(tmp_path / "model.keras")
    for after, expected in zip(keras.models.load_model(tmp_path / "model.keras")(x), before, strict=True):
        np.testing.assert_array_equal(after, expected)
