"""Image classifiers with a backbone by name."""

import keras
import numpy as np
import pytest
from tallyloop.models import image_classifier, small_backbone


def tiny(**given):
    return small_backbone(**given, filters=(3,))


def linear(classes):
    """A model of features, which has another protocol."""


class TestClassifier:
    def test_has_a_backbone_and_a_head(self):
        model = image_classifier(tiny, num_classes=7, size=(8, 6))
        assert model(np.zeros([2, 8, 6, 3], np.float32)).shape == (2, 7)
        assert [layer.name for layer in model.layers][-1] == "head"
        assert {weight.path.split("/")[0] for weight in model.weights} >= {"head"}
        assert model.get_layer("backbone").count_params() == 3 * 3 * 3 * 3 + 4 * 3

    def test_normalizes_over_the_global_batch(self):
        model = image_classifier(tiny, momentum=0.7)
        (norm,) = (
            each for each in model.get_layer("backbone").layers if isinstance(each, keras.layers.BatchNormalization)
        )
        assert (norm.synchronized, norm.momentum) == (True, 0.7)
        saved = keras.layers.BatchNormalization.from_config(norm.get_config())
        assert (saved.synchronized, saved.momentum) == (True, 0.7)

    @pytest.mark.parametrize(("scale", "wanted"), [("0 to 1", 0.5), ("-1 to 1", 0.0), ("0 to 255", 127.5)])
    def test_scales(self, scale, wanted):
        """A backbone that passes the mean on."""

        def mean(include_top, input_shape, weights, pooling):
            inputs = keras.Input(input_shape)
            return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))

        model = image_classifier(mean, num_classes=3, size=4, scale=scale)
        model.get_layer("head").kernel.assign(np.eye(3))
        np.testing.assert_allclose(model(np.full([1, 4, 4, 3], 0.5, np.float32)), [[wanted] * 3], atol=1e-5)

    @pytest.mark.parametrize(("scale", "mode"), [("-1 to 1", "tf"), ("caffe", "caffe"), ("torch", "torch")])
    def test_scales_as_keras_applications(self, rng, tmp_path, scale, mode):
        def pixels(include_top, input_shape, weights, pooling):
            inputs = keras.Input(input_shape)
            return keras.Model(inputs, keras.layers.Flatten()(inputs))

        model = image_classifier(pixels, num_classes=12, size=2, scale=scale, dropout=0.0)
        model.get_layer("head").set_weights([np.eye(12), np.zeros(12)])
        images = rng.integers(0, 256, (5, 2, 2, 3)).astype(np.float32)
        expected = keras.applications.imagenet_utils.preprocess_input(images.copy(), "channels_last", mode)
        np.testing.assert_allclose(model(images / 255), expected.reshape(5, 12), rtol=1e-5, atol=1e-4)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_allclose(loaded(images / 255), expected.reshape(5, 12), rtol=1e-5, atol=1e-4)

    def test_takes_weights_from_a_file(self, tmp_path):
        backbone = tiny(input_shape=(8, 8, 3))
        backbone.save_weights(tmp_path / "own.weights.h5")
        model = image_classifier(tiny, size=8, weights=str(tmp_path / "own.weights.h5"))
        for mine, saved in zip(model.get_layer("backbone").weights, backbone.weights, strict=True):
            np.testing.assert_array_equal(mine, saved)

    @pytest.mark.slow
    def test_of_keras_applications(self):
        model = image_classifier(keras.applications.MobileNetV2, num_classes=2, size=32)
        assert model(np.zeros([1, 32, 32, 3], np.float32)).shape == (1, 2)


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"scale": "0-1"},
                "image_classifier.scale = '0-1': expected '0 to 1', '-1 to 1', '0 to 255', 'caffe' or 'torch'",
            ),
            (
                {"backbone": "MobileNetV2"},
                "image_classifier.backbone = 'MobileNetV2': expected a function that makes a model",
            ),
            (
                {"backbone": linear},
                "@linear: expected a function like those of keras.applications, got one",
            ),
            ({"size": 0}, "image_classifier.size = 0: expected"),
            ({"channels": 0}, "image_classifier.channels = 0: expected a whole number of at least 1"),
            (
                {"momentum": 1.0},
                "image_classifier.momentum = 1.0: expected a number of at least 0 and less than 1, or None",
            ),
            (
                {"scale": "caffe", "channels": 1},
                "image_classifier.scale = 'caffe': expected images of 3 channels, got image_classifier.channels = 1",
            ),
            ({"num_classes": 1.5}, "image_classifier.num_classes = 1.5: expected"),
            ({"backbone": tiny, "weights": "no.weights.h5"}, "with weights = 'no.weights.h5', got "),
            (
                {"backbone": keras.applications.MobileNetV2, "size": 8},
                "@MobileNetV2: expected a model of images of shape (8,",
            ),
        ],
    )
    def test_wrong_arguments_are_refused(self, refused, given, message):
        with refused(message):
            image_classifier(**given)

    def test_weights_that_cannot_be_downloaded(self, refused):
        def pretrained(include_top, input_shape, weights, pooling):
            raise Exception("URL fetch failure on https://storage.googleapis.com/...")

        with refused("URL fetch failure on https://storage.googleapis.com/...; bind image_classifier.weights = None"):
            image_classifier(pretrained, weights="imagenet")
